"""How much of the time that is left a part of a step may take."""

from __future__ import annotations

import time

from onnxslim.activations.run_context import RunContext


def test_a_part_goes_on_into_its_share_of_the_time_left_and_keeps_what_is_reserved() -> None:
    context = RunContext(deadline=time.monotonic() + 1000)
    assert context.pace().fits()
    assert context.pace(share=0.5).fits()
    assert context.pace(reserve=500).fits()
    assert not context.pace(share=0.0).fits()
    assert not context.pace(reserve=1001).fits()
    assert not context.pace(reserve=1001, share=0.5).fits()


def test_without_a_deadline_everything_fits() -> None:
    assert RunContext().pace(reserve=1e9, share=0.0).fits()
