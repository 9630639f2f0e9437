"""Layers are named exactly where two neighboring products can leave 16 bits, whatever form the model has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.quantization.evaluation.saturating_layers import find_saturating_layers, report_room
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.quantize_graphs import model, samples, weight


def simulate_saturation(activations: np.ndarray, codes: np.ndarray) -> bool:
    """Whether a kernel that adds neighbors in 16 bits gives another product: (m, k) uint8 by (k, n) int8."""
    products = activations.astype(np.int64)[:, :, None] * codes.astype(np.int64)[None]
    pairs = products.reshape(len(activations), -1, 2, codes.shape[1]).sum(axis=2)
    return bool((np.clip(pairs, -(2**15), 2**15 - 1) != pairs).any())


def draw_linear(codes: np.ndarray, *, op: str = "MatMul", group: int = 1) -> ir.Model:
    """One layer of these weights, behind Q/DQ of uint8."""
    shape = (4, len(codes)) if op == "MatMul" else (1, codes.shape[1] * group, 8, 8)
    toy = ToyModel(*shape)
    weights = toy.dequantize(toy.constant(codes, np.int8), 0.01, 0, np.int8)
    attributes = {"group": group} if op == "Conv" else {}
    return toy.build(toy.qdq(toy(op, toy.qdq(toy.x), weights, **attributes)))


@pytest.mark.parametrize("seed", range(20))
def test_a_layer_is_named_if_and_only_if_some_input_can_saturate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-75, 76, (16, 4)).astype(np.int8)
    same_sign = [np.where(codes > 0, 255, 0), np.where(codes < 0, 255, 0)]
    saturates = any(
        simulate_saturation(column[:, None].T.astype(np.uint8), codes[:, [n]])
        for signs in same_sign
        for n, column in enumerate(signs.T)
    )
    assert bool(find_saturating_layers(draw_linear(codes))) == saturates


@pytest.mark.parametrize(
    ("first", "second", "saturates"),
    [
        (64, 64, False),
        (65, 64, True),
        (-64, -64, False),
        (-65, -64, True),
        (127, -127, False),
        (127, 1, False),
        (127, 2, True),
    ],
)
def test_neighbors_count_by_their_sum_and_sign(first: int, second: int, saturates: bool) -> None:
    codes = np.zeros((8, 3), np.int8)
    codes[4:6, 1] = first, second
    (found,) = find_saturating_layers(draw_linear(codes)) or (None,)
    assert (found is not None) == saturates
    if found is not None:
        assert (found.channels, found.total, found.largest_sum) == (1, 3, 255 * abs(first + second))
        assert not found.wraps_on_arm


def test_a_depthwise_convolution_is_exact_and_other_groups_are_not() -> None:
    full = np.full((16, 1, 3, 3), 127, np.int8)
    assert not find_saturating_layers(draw_linear(full, op="Conv", group=16))
    grouped = np.full((16, 4, 3, 3), 127, np.int8)
    assert find_saturating_layers(draw_linear(grouped, op="Conv", group=4))


def test_weights_of_minus_128_wrap_around_on_arm() -> None:
    (found,) = find_saturating_layers(draw_linear(np.full((8, 3), -128, np.int8)))
    assert found.wraps_on_arm


def test_a_range_that_ends_early_allows_larger_weights() -> None:
    found = []
    for high in (6.0, 3.0):
        toy = ToyModel(4, 8)
        clipped = toy("Clip", toy.x, toy.constant(0.0), toy.constant(high))
        weights = toy.dequantize(toy.constant(np.full((8, 3), 100), np.int8), 0.01, 0, np.int8)
        found.append(find_saturating_layers(toy.build(toy.qdq(toy("MatMul", toy.qdq(clipped, 6 / 255, 0), weights)))))
    assert [bool(layers) for layers in found] == [True, False]


@pytest.mark.parametrize(("scale", "high"), [(0.0, 6.0), (np.nan, 6.0), (-1.0, 6.0), (0.1, np.nan)])
def test_a_range_that_is_none_ends_nowhere(scale: float, high: float) -> None:
    toy = ToyModel(4, 8)
    clipped = toy("Clip", toy.x, toy.constant(0.0), toy.constant(high))
    weights = toy.dequantize(toy.constant(np.full((8, 3), 100), np.int8), 0.01, 0, np.int8)
    assert find_saturating_layers(toy.build(toy.qdq(toy("MatMul", toy.qdq(clipped, scale, 0), weights))))


def test_weights_that_are_all_zero_have_no_bits_to_tell_of() -> None:
    assert report_room(draw_linear(np.zeros((8, 3), np.int8))).changed == {}


def draw_integer(toy: ToyModel, codes: ir.Value) -> ir.Value:
    toy.x.type = ir.TensorType(ir.DataType.UINT8)
    return toy("MatMulInteger", toy.x, codes)


def draw_qgemm(toy: ToyModel, codes: ir.Value) -> ir.Value:
    toy.x.type = ir.TensorType(ir.DataType.UINT8)
    scale, zero = toy.constant(0.1), toy.constant(0, np.uint8)
    return toy("QGemm", toy.x, scale, zero, codes, scale, toy.constant(0, np.int8), domain="com.microsoft")


@pytest.mark.parametrize("draw", [draw_integer, draw_qgemm])
def test_models_of_operators_are_read_too(draw: Callable[[ToyModel, ir.Value], ir.Value]) -> None:
    for value, saturates in ((64, False), (65, True)):
        toy = ToyModel(4, 8)
        built = toy.build(draw(toy, toy.constant(np.full((8, 3), value), np.int8)))
        assert bool(find_saturating_layers(built)) == saturates


@pytest.mark.parametrize("scheme", ["static", "dynamic"])
def test_what_is_written_for_any_processor_cannot_saturate_and_says_what_that_costs(scheme: str) -> None:
    found = model("g (float[n,64] x) => (float[n,64] y) { a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, v) }",
                  w=weight(64, 64), v=weight(64, 64))  # fmt: skip
    results = {}
    for target in ("cpu", "portable"):
        options = QuantizeOptions(target=target, activations=scheme, float_units=())
        results[target], report = quantize(found, samples(found, 64), options)
        says = [key for key in report.changed if key.startswith("bits of weights")]
        assert bool(says) == (target == "portable")
        assert not any("saturate" in warning for warning in report.warnings)
    assert find_saturating_layers(results["cpu"])
    assert not find_saturating_layers(results["portable"])
    assert report_room(results["cpu"]).warnings


def test_a_layer_that_reads_what_no_input_makes_is_looked_at_like_any_other() -> None:
    """A Constant and a RandomNormal have no inputs at all, and may stand where a DequantizeLinear is looked for."""
    for made in (
        helper.make_node("Constant", [], ["c"], value_float=1.0),
        helper.make_node("RandomNormal", [], ["c"], shape=[4]),
    ):
        nodes = [made, helper.make_node("Identity", ["c"], ["i"]), helper.make_node("MatMul", ["i", "x"], ["y"])]
        info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])]
        graph = helper.make_graph(nodes, "g", info, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
        given = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
        assert find_saturating_layers(given) == []
