"""What a run holds, and batches that keep below it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations import working_set
from onnxslim.activations.working_set import estimate_working_set, find_crossing, find_tensor_bytes, plan_batch_size
from tests.support import nets


def chain(width: int, tail: str = "ReduceMean") -> ir.Model:
    """x (n, 4) → two maps of (n, 4 · width) one after another → one number a sample."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["n", 4]))
    repeats = ir.tensor(np.array([1, width]), name="repeats")
    repeats_value = ir.Value(name="repeats", const_value=repeats, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([2]))
    tile = ir.node("Tile", [x, repeats_value])
    relu = ir.node("Relu", [tile.outputs[0]])
    reduce = ir.node(tail, [relu.outputs[0]], {"axes": [1]} if tail == "ReduceMean" else {})
    for name, node in (("wide", tile), ("relu", relu), ("y", reduce)):
        node.outputs[0].name, node.outputs[0].dtype = name, ir.DataType.FLOAT
    graph = ir.Graph(
        [x], [reduce.outputs[0]], nodes=[tile, relu, reduce], initializers=[repeats_value], opset_imports={"": 17}
    )
    return ir.Model(graph, ir_version=8)


def feed(n: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((n, 4), np.float32)}


@pytest.mark.parametrize("n", [1, 5])
def test_the_peak_is_where_most_tensors_are_alive(n: int) -> None:
    found = estimate_working_set(chain(width=100), feed(n))
    assert found.peak == 2 * n * 1600
    assert found.outputs == n * 4


def test_an_output_is_held_to_the_end() -> None:
    model = chain(width=100, tail="Identity")
    model.graph.outputs.append(model.graph.node(0).outputs[0])
    found = estimate_working_set(model, feed(3))
    assert found.outputs == 2 * 3 * 1600
    assert found.peak == 3 * 3 * 1600


def test_batches_are_as_large_as_the_limit_allows_and_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.residual(blocks=1)
    data = nets.samples(model, 9)
    alone = estimate_working_set(model, next(iter(data.batches(1)))).peak
    for limit, expected in ((alone // 2, 1), (alone, 1), (5 * alone, 5), (10**12, 16)):
        monkeypatch.setattr(working_set, "MAX_RUN_BYTES", limit)
        assert plan_batch_size(model, data, 16) == expected
    monkeypatch.setattr(working_set, "MAX_RUN_BYTES", 5 * alone)
    assert plan_batch_size(model, data, 16, output_copies=1000) < 5


def test_sizes_follow_what_is_fed() -> None:
    sizes = find_tensor_bytes(chain(width=10), feed(7))
    assert (sizes["x"], sizes["wide"], sizes["y"]) == (7 * 16, 7 * 160, 7 * 4)


def test_what_crosses_a_cut_is_what_is_read_behind_it() -> None:
    model = chain(width=2)
    assert find_crossing(list(model.graph), list(model.graph.inputs)) == [["x"], ["wide"], ["relu"], []]
