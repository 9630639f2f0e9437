"""Every row of the tables and every claim about the runtime against its own optimised graph, both ways."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.constants import constant
from onnxslim.quantize import contract
from onnxslim.quantize.claims import CLAIMS, Claim
from onnxslim.quantize.contract import LINEAR, PATTERNS, UNFUSED
from onnxslim.quantize.paces import LAYERS
from onnxslim.quantize.sketch import Sketch
from onnxslim.quantize.targets import TARGETS, Kind, Row
from onnxslim.runtime.optimized import optimized
from onnxslim.runtime.session import Session, SessionConfig

CPU, TENSORRT = TARGETS["cpu"], TARGETS["tensorrt"]


def test_every_row_has_a_pattern_and_no_op_is_both_in_the_table_and_left_out() -> None:
    assert set(CPU.rows) <= PATTERNS.keys() | LINEAR.keys()
    assert set(TENSORRT.rows) <= set(CPU.rows)
    assert not set(CPU.rows) & UNFUSED.keys()


@pytest.mark.parametrize("op", sorted(CPU.rows))
def test_what_the_table_says_fuses_does(op: str) -> None:
    finding = contract.try_row(CPU, op, CPU.rows[op], True, None)
    assert finding.fused, f"{op} left {finding.ops}"


@pytest.mark.parametrize("name", UNFUSED)
def test_what_the_table_leaves_out_does_not_fuse(name: str) -> None:
    row = Row(Kind.OWN, lambda node: None, "")
    finding = contract.try_row(contract.forced(CPU, name), name, row, False, None)
    assert not finding.fused, f"{name} fuses now: give it a row ({finding.ops})"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.says)
def test_what_placement_rests_on_holds(claim: Claim) -> None:
    ops = Counter(node.op_type for node in optimized(claim.build()).graph)
    assert claim.holds(ops), f"{claim.says}: left {dict(ops)}"


def test_a_conv_with_weights_per_input_channel_is_not_only_fused_but_wrong() -> None:
    s = Sketch(1, 16, 8, 8)
    rng = np.random.default_rng(0)
    codes = s.constant(rng.integers(-127, 128, (16, 16, 1, 1)), np.int8)
    scales, zeros = s.constant(np.linspace(0.001, 0.02, 16)), s.constant(np.zeros(16), np.int8)
    model = s.model(s.qdq(s("Conv", s.qdq(s.x), s("DequantizeLinear", codes, scales, zeros, axis=1)), 0.05))
    feed = {"x": rng.standard_normal((1, 16, 8, 8)).astype(np.float32)}
    plain, fused = (Session(model, SessionConfig(optimize=on)).run(feed)["y0"] for on in (False, True))
    assert np.abs(plain - fused).max() > 1.0, "the runtime heeds the axis now: rewrite the claim"


@pytest.mark.parametrize("op", [op for op, row in TENSORRT.rows.items() if row.kind is not Kind.FOLD])
def test_tensorrt_gets_symmetric_int8_without_a_quantised_bias(op: str) -> None:
    model = contract.quantised_pattern(TENSORRT, op)
    kinds = [node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert kinds
    for node in kinds:
        zero = constant(node.inputs[2])
        assert zero is not None
        assert zero.dtype == np.int8
        assert not zero.any()
    weighted = [node for node in model.graph if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert all(is_dequantised(node.inputs[1]) and not is_dequantised(get(node.inputs, 2)) for node in weighted)
    scales = [constant(node.inputs[1].producer().inputs[1]) for node in weighted]  # type: ignore[union-attr]
    assert all(scale is not None and scale.ndim == 1 for scale in scales)


def test_tensorrt_overrides_the_scale_of_no_softmax() -> None:
    assert "Softmax" in CPU.rows
    assert "Softmax" not in TENSORRT.rows


def is_dequantised(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def get(values: object, index: int) -> ir.Value | None:
    found = list(values)  # type: ignore[call-overload]
    return found[index] if index < len(found) else None


def test_every_layer_that_doctor_times_is_int8() -> None:
    for name, draw in LAYERS.items():
        shape, models = draw()
        ops = {node.op_type for node in optimized(models["int8"]).graph}
        kernels = {"blocks": "MatMulNBits", "dynamic": "DynamicQuantizeMatMul", "residual": "LayerNormalization"}
        wanted = next((kernel for word, kernel in kernels.items() if word in name), "QLinearConv")
        assert wanted in ops, f"{name} left {ops}"
        assert Session(models["int8"]).run({"x": np.zeros(shape, np.float32)})["y0"].shape[0] == shape[0]
