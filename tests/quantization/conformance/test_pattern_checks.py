"""Every row of the tables and every claim about the runtime against its own optimised graph, both ways."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.constants import get_const_array
from onnxslim.quantization.conformance import pattern_checks
from onnxslim.quantization.conformance.pattern_checks import FUSED_PATTERNS, LINEAR_PATTERNS, UNFUSED_PATTERNS
from onnxslim.quantization.targets.base import OpKind, SupportedOp
from onnxslim.quantization.targets.registry import TARGETS

CPU, TENSORRT = TARGETS["cpu"], TARGETS["tensorrt"]


def test_every_row_has_a_pattern_and_no_op_is_both_in_the_table_and_left_out() -> None:
    assert set(CPU.supported_ops) <= FUSED_PATTERNS.keys() | LINEAR_PATTERNS.keys()
    assert set(TENSORRT.supported_ops) <= set(CPU.supported_ops)
    assert not set(CPU.supported_ops) & UNFUSED_PATTERNS.keys()


@pytest.mark.parametrize("op", sorted(CPU.supported_ops))
def test_what_the_table_says_fuses_does(op: str) -> None:
    finding = pattern_checks.check_op(CPU, op, CPU.supported_ops[op], True, None)
    assert finding.fused, f"{op} left {finding.ops}"


@pytest.mark.parametrize("name", UNFUSED_PATTERNS)
def test_what_the_table_leaves_out_does_not_fuse(name: str) -> None:
    row = SupportedOp(OpKind.OWN_RANGE, lambda node: None, "")
    finding = pattern_checks.check_op(pattern_checks.force_op(CPU, name), name, row, False, None)
    assert not finding.fused, f"{name} fuses now: give it a row ({finding.ops})"


@pytest.mark.parametrize("op", [op for op, row in TENSORRT.supported_ops.items() if row.kind is not OpKind.FOLD])
def test_tensorrt_gets_symmetric_int8_without_a_quantised_bias(op: str) -> None:
    model = pattern_checks.build_quantized_pattern(TENSORRT, op)
    kinds = [node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert kinds
    for node in kinds:
        zero = get_const_array(node.inputs[2])
        assert zero is not None
        assert zero.dtype == np.int8
        assert not zero.any()
    weighted = [node for node in model.graph if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert all(is_dequantised(node.inputs[1]) and not is_dequantised(get(node.inputs, 2)) for node in weighted)
    scales = [get_const_array(node.inputs[1].producer().inputs[1]) for node in weighted]  # type: ignore[union-attr]
    assert all(scale is not None and scale.ndim == 1 for scale in scales)


def test_tensorrt_overrides_the_scale_of_no_softmax() -> None:
    assert "Softmax" in CPU.supported_ops
    assert "Softmax" not in TENSORRT.supported_ops


def is_dequantised(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def get(values: object, index: int) -> ir.Value | None:
    found = list(values)  # type: ignore[call-overload]
    return found[index] if index < len(found) else None
