"""Bodies of Loop and Scan (If stands with the other graphs): quantised or left whole, never half."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.quantize_graphs import EVERYTHING, close, kernels, model, samples

LOOP = """g (float[n,64] x) => (float[n,64] y) {
  h = MatMul(x, w)
  trips = Constant<value = int64 {3}>()
  keep = Constant<value = bool {1}>()
  z = Loop (trips, keep, h) <body = step (int64 i, bool c, float[n,64] s) => (bool d, float[n,64] t) {
    d = Identity(c)
    m = MatMul(s, v)
    r = Relu(m)
    t = Add(r, h)
  }>
  y = MatMul(z, u)
}"""
SCAN = """g (float[n,6,64] x) => (float[n,64] y) {
  h = MatMul(x, w)
  first = Constant<value_ints = [1]>()
  start = ReduceMean<axes = [1], keepdims = 0>(h)
  z, all = Scan <num_scan_inputs = 1, scan_input_axes = [1],
    body = step (float[n,64] s, float[n,64] e) => (float[n,64] t, float[n,64] o) {
    m = MatMul(e, v)
    a = Add(m, s)
    t = Tanh(a)
    o = Identity(t)
  }> (start, h)
  y = MatMul(z, u)
}"""
BODIES = {"Loop": (LOOP, (64,)), "Scan": (SCAN, (6, 64))}


def square(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((64, 64)) / 8).astype(np.float32)


def written(op: str) -> tuple[ir.Model, tuple[int, ...]]:
    text, shape = BODIES[op]
    return model(text, w=square(0), v=square(1), u=square(2)), shape


def inside(found: ir.Model) -> list[str]:
    return [node.op_type for node in found.graph.all_nodes() if node.graph is not found.graph]


@pytest.mark.parametrize("op", BODIES)
def test_fixed_ranges_leave_a_body_whole_in_float_and_the_layers_around_it_fuse(op: str) -> None:
    found, shape = written(op)
    data = samples(found, *shape)
    result, report = quantize(found, data, EVERYTHING)
    assert inside(result) == inside(found)
    assert report.changed["layers in int8"] == 2
    assert kernels(result)["MatMulIntegerToFloat"] == 2
    assert close(found, result, data)


@pytest.mark.parametrize("op", BODIES)
def test_dynamic_ranges_reach_the_layers_in_a_body_whole(op: str) -> None:
    found, shape = written(op)
    data = samples(found, *shape)
    result, report = quantize(found, data, QuantizeOptions(activations="dynamic", placement="static"))
    assert "MatMul" not in inside(result)
    assert report.changed["layers in int8"] == 3
    ran = kernels(result)
    assert ran["MatMulIntegerToFloat"] + ran["DynamicQuantizeMatMul"] == 3
    assert close(found, result, data)


@pytest.mark.parametrize("op", BODIES)
@pytest.mark.parametrize("weights", ["int8", "int4", "int4:qdq", "codebook:16", "float16"])
def test_weights_alone_are_stored_once_for_a_body_and_around_it(op: str, weights: str) -> None:
    found, shape = written(op)
    result, _ = quantize(found, None, QuantizeOptions(weights=weights))
    assert len(model_file.to_bytes(result)) < 0.6 * len(model_file.to_bytes(found))
    floats = [value for value in result.graph.initializers.values() if value.dtype == ir.DataType.FLOAT]
    assert all(value.shape != (64, 64) for value in floats)
    assert close(found, result, samples(found, *shape), 35.0 if weights == "int8" else 12.0)
