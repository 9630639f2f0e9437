"""What may be asked of a recovery, and what may not."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.recovery.options import RecoverOptions


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["seconds", "steps", "epochs", "batch_size", "lr"])
def test_what_is_no_number_above_zero_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"recover: {name} is .*expected a number above 0"):
        RecoverOptions(**{name: value})  # type: ignore[arg-type]


def test_the_update_to_end_after_is_one_of_those_planned() -> None:
    assert RecoverOptions(steps=20, last=12).last == 12
    for last in (21, -1):
        with pytest.raises(UsageError, match=f"last is {last}, expected"):
            RecoverOptions(steps=20, last=last)
