"""Whether a model is quantised already, and by what: such a model is left as it is."""

from __future__ import annotations

import onnx_ir as ir

#: op type → the kind of quantisation it shows
_SIGNS = {
    "QuantizeLinear": "QDQ",
    "DynamicQuantizeLinear": "dynamic",
    "MatMulInteger": "dynamic",
    "ConvInteger": "dynamic",
    "DynamicQuantizeMatMul": "dynamic",
    "DynamicQuantizeLSTM": "dynamic",
    "MatMulNBits": "weight-only",
    "QLinearConv": "QOperator",
    "QLinearMatMul": "QOperator",
    "QGemm": "QOperator",
    "QAttention": "QOperator",
}


def quantised(model: ir.Model) -> str | None:
    """``QDQ``, ``QOperator``, ``dynamic`` or ``weight-only`` with the first node that shows it, or None."""
    for node in model.graph.all_nodes():
        kind = _SIGNS.get(node.op_type)
        if kind is not None:
            return f"{kind} ({node.op_type} {node.name or ''})".replace(" )", ")")
    for node in model.graph.all_nodes():
        if node.op_type == "DequantizeLinear":
            return f"weight-only (DequantizeLinear {node.name or ''})".replace(" )", ")")
    return None
