"""The bounds of activations, against what onnx's reference implementation computes."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnxslim.graph.clip_bounds import find_flat_bounds, get_clip_bounds

HEADER = '<ir_version: 8, opset_import: ["" : {opset}]> g (float[9] x, float t) => (float[9] y) '
GRID = np.linspace(-8, 8, 9, dtype=np.float32)


def _parse(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEADER.format(opset=opset) + text)


@pytest.mark.parametrize(
    ("text", "opset"),
    [
        ("{y = Relu(x)}", 17),
        ("<float low = {-1}, float high = {2.5}> {y = Clip(x, low, high)}", 17),
        ("<float high = {6}> {y = Clip(x, , high)}", 17),
        ("{y = Clip(x)}", 17),
        ("{y = Clip<min=-3.0, max=3.0>(x)}", 6),
    ],
)
def test_clip_bounds_are_what_the_op_computes(text: str, opset: int) -> None:
    model = _parse(text, opset)
    low, high = get_clip_bounds(ir.from_proto(model).graph[0])
    assert low is not None
    assert high is not None
    (given,) = ReferenceEvaluator(model).run(None, {"x": GRID, "t": np.float32(0)})
    np.testing.assert_array_equal(given, np.clip(GRID, low, high))


def test_a_bound_that_is_only_known_at_run_time_is_none() -> None:
    assert get_clip_bounds(ir.from_proto(_parse("{y = Clip(x, t)}")).graph[0]) == (None, math.inf)


@pytest.mark.parametrize(
    "text",
    [
        "{y = Relu(x)}",
        "{y = HardSwish(x)}",
        "{y = HardSigmoid<alpha=0.5, beta=0.25>(x)}",
        "<float low = {-1}, float high = {2}> {a = Clip(x, low, high) b = HardSigmoid(x) y = Add(a, b)}",
        "<float low = {-1}, float high = {2}> {a = Clip(x, low, high) b = Tanh(x) y = Add(a, b)}",
        "{a = HardSigmoid<alpha=-1.0>(x) y = Relu(a)}",
    ],
)
def test_beyond_flat_bounds_nothing_changes_and_within_them_something_does(text: str) -> None:
    model = _parse(text)
    low, high = find_flat_bounds(ir.from_proto(model).graph.inputs[0])
    evaluator = ReferenceEvaluator(model)

    def run(x: np.ndarray) -> np.ndarray:
        return np.asarray(evaluator.run(None, {"x": x.astype(np.float32), "t": np.float32(0)})[0])

    np.testing.assert_allclose(run(GRID), run(np.clip(GRID, low, high)), atol=1e-6)
    for edge, inward in ((low, 0.25), (high, -0.25)):
        if math.isfinite(edge):
            assert (run(np.full(9, edge)) != run(np.full(9, edge + inward))).all()


def test_an_output_of_the_graph_is_never_flat() -> None:
    graph = ir.from_proto(_parse("{y = Relu(x)}")).graph
    assert find_flat_bounds(graph.outputs[0]) == (-math.inf, math.inf)
