"""Whatever ONNX can express is analysed without an error."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_ir as ir
import pytest
from onnx import NodeProto, helper
from onnx.backend.test.case.node import collect_testcases

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.lossless.removal import remove_lossless
from onnxslim.channels.removable_blocks import find_blocks
from tests.support.node_graphs import build


@pytest.mark.nightly
def test_every_node_case_of_onnx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases()
    assert len(cases) > 1000
    for case in cases:
        model = ir.from_proto(case.model)
        analyze_channels(model)
        analyze_channels(model, lossy=True)
        find_blocks(model)
        remove_lossless(model)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Shape", ["scalar"], ["s"]), helper.make_node("Mul", ["s", "s"], ["z"])],
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Slice", ["s", "i0", "i1", "i0", "i0"], ["z"])],
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "i9"], ["z"])],
    ],
    ids=["empty product", "step of 0", "index out of range"],
)
def test_sizes_that_cannot_be_followed_do_not_end_the_analysis(nodes: list[NodeProto]) -> None:
    layers = [helper.make_node("Conv", ["x", "w"], ["h"], "first"), helper.make_node("Conv", ["h", "v"], ["y"], "second")]
    weights = {"w": np.ones((4, 3, 1, 1), np.float32), "v": np.ones((2, 4, 1, 1), np.float32)}
    indices = {f"i{k}": np.array([k], np.int64) for k in (0, 1, 9)}
    outputs: dict[str, list[str | int]] = {"y": [1, 2, 5, 5], "z": ["k"]}
    model = build([*layers, *nodes], {"x": [1, 3, 5, 5], "scalar": []}, outputs, weights | indices)
    model.graph.outputs[1].type = ir.TensorType(ir.DataType.INT64)
    assert analyze_channels(model).count == 4
