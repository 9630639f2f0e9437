"""Models run on some of the samples, spread over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.validation.output_kinds.observer import observe
from tests.support.node_graphs import FLOAT, build


def double(batch: int | str = "b") -> object:
    """y = x + x."""
    return build([helper.make_node("Add", ["x", "x"], ["y"])], {"x": (FLOAT, [batch, 3])}, {"y": (FLOAT, [batch, 3])})


@pytest.mark.parametrize("batch", ["b", 1, 4])
def test_samples_are_spread_over_all_of_them(batch: int | str) -> None:
    model = double(batch)
    x = np.arange(1000, dtype=np.float32)[:, None] + np.zeros((1, 3), np.float32)
    found = observe(model, open_samples({"x": x}, model)).outputs["y"]
    firsts = [float(row[0]) for row in found.rows]
    assert 8 <= len(firsts) <= 64
    assert firsts[0] == 0
    assert firsts[-1] >= 2 * 990
    assert found.ending.op == "Add"


def test_a_model_without_tensors_is_refused() -> None:
    model = build(
        [helper.make_node("SequenceEmpty", [], ["p"])],
        {"x": (FLOAT, ["b", 3])},
        {"p": helper.make_tensor_sequence_value_info("p", FLOAT, None)},
    )
    with pytest.raises(UnsupportedError, match="output p is a sequence or a map"):
        observe(model, open_samples({"x": np.zeros((4, 3), np.float32)}, model))
