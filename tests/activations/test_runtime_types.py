"""Types as the runtime spells them, and as it infers them where ONNX does not."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.activations.runtime_types import infer_runtime_types, parse_type
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tensor(float)", ir.TensorType(ir.DataType.FLOAT)),
        ("tensor(bfloat16)", ir.TensorType(ir.DataType.BFLOAT16)),
        ("seq(tensor(double))", ir.SequenceType(ir.TensorType(ir.DataType.DOUBLE))),
        ("optional(seq(tensor(int64)))", ir.OptionalType(ir.SequenceType(ir.TensorType(ir.DataType.INT64)))),
        ("map(int64,tensor(float))", None),
    ],
)
def test_the_runtimes_spelling_is_read(text: str, expected: ir.TypeProtocol | None) -> None:
    assert parse_type(text) == expected


def test_types_behind_the_runtimes_own_ops_become_known() -> None:
    made = model("g (float[n,4] x) => (float[n,4] y) { a = com.microsoft.Gelu (x) \n y = Neg (a) }")
    made.opset_imports["com.microsoft"] = 1
    assert infer_runtime_types(made, SessionConfig()) == 1
    assert made.graph[0].outputs[0].dtype == ir.DataType.FLOAT
    assert infer_runtime_types(made, SessionConfig()) == 0


def test_types_behind_an_op_that_is_not_here_stay_unknown() -> None:
    made = model("g (float[n,4] x) => (float[n,4] y) { a = no.such.Op (x) \n y = Neg (a) }")
    made.opset_imports["no.such"] = 1
    assert infer_runtime_types(made, SessionConfig()) == 0
    assert made.graph[0].outputs[0].dtype is None
