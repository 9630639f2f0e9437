"""The collector pauses inside the block, and is afterwards what it was."""

from __future__ import annotations

import gc

import pytest

from onnxslim.core.gc_pause import pause_gc


def fail_inside() -> None:
    with pause_gc():
        assert not gc.isenabled()
        raise ZeroDivisionError


@pytest.mark.parametrize("enabled", [True, False])
def test_what_was_on_is_off_inside_and_on_again_even_after_an_error(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError):
            fail_inside()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
