"""What is opened with a state: whole sequences are drawn and held back, and random ones grow until the model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples
from onnxslim.data.split import hold_back
from onnxslim.data.states.feedback import StateFeedback
from tests.support.leaky_sum import HOW, PAIRS, frames, step

Make = Callable[..., ir.Model]


def test_a_draw_and_a_held_back_share_take_whole_sequences(leaky_sum: ir.Model) -> None:
    sequences = frames(3, 3, 3, 3)
    samples = open_samples({"x": np.stack(sequences)}, leaky_sum, feedback=HOW, max_samples=2)
    assert samples.as_json()["sequences"] == 2
    assert samples.times is not None
    assert samples.times.tolist() == [0, 1, 2, 0, 1, 2]
    whole = open_samples({"x": np.stack(sequences)}, leaky_sum, feedback=HOW)
    rest, held = hold_back(whole, 0.5)
    assert rest.sequences is not None
    assert held.sequences is not None
    assert len(set(rest.sequences.tolist())) == len(set(held.sequences.tolist())) == 2
    assert set(rest.sequences.tolist()).isdisjoint(held.sequences.tolist())


def test_a_state_that_the_data_lack_is_asked_for_by_name(leaky_sum: ir.Model) -> None:
    with pytest.raises(InvalidDataError) as caught:
        open_samples({"x": frames(3)[0]}, leaky_sum)
    assert "--state OUT=state" in str(caught.value.hint)


def test_made_up_sequences_grow_until_the_model_runs_with_them(make: Make) -> None:
    model = make(x=("FLOAT", ["batch", "length"]), state=("FLOAT", [2, "batch", 4]))

    def picky(feeds: Mapping[str, Any]) -> dict[str, Any]:
        if feeds["x"].shape[1] < 8:
            raise InvalidDataError("too short")
        return step(feeds)

    samples = open_samples("random", model, max_samples=2, feedback=StateFeedback(PAIRS, ["y", "next"], picky))
    assert samples.as_json()["sequences"] == 2
    assert next(iter(samples.batches(1)))["x"].shape[1] >= 8
    assert samples.times is not None
    assert samples.times.max() > 1
