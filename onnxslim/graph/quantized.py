"""Whether a model is quantised already, and by what: such a model is left as it is."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor, is_made_of_constants
from onnxslim.graph.layers import LAYER_OPS

#: op type → the kind of quantisation it shows
_KIND_OF_OP = {
    "QuantizeLinear": "QDQ",
    "DynamicQuantizeLinear": "dynamic",
    "MatMulInteger": "dynamic",
    "ConvInteger": "dynamic",
    "DynamicQuantizeMatMul": "dynamic",
    "DynamicQuantizeLSTM": "dynamic",
    "MatMulNBits": "weight-only",
    "MatMulBnb4": "weight-only",
    "GatherBlockQuantized": "weight-only",
    "MatMulIntegerToFloat": "dynamic",
    "QLinearConv": "QOperator",
    "QLinearMatMul": "QOperator",
    "QGemm": "QOperator",
    "QAttention": "QOperator",
    "QLinearAdd": "QOperator",
}
_RANGE_OPS = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
_QUANTIZED_DTYPES = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4})
#: Fewer 8-bit constants than this are data, not weights.
_MIN_WEIGHT_ELEMENTS = 512


def detect_quantization(model: ir.Model) -> str | None:
    """``QDQ``, ``QOperator``, ``dynamic`` or ``weight-only`` with the first node that shows it, or None."""
    for node in model.graph.all_nodes():
        kind = _KIND_OF_OP.get(node.op_type)
        if kind is not None:
            return f"{kind} ({node.op_type} {node.name or ''})".replace(" )", ")")
    for node in model.graph.all_nodes():
        if node.op_type == "DequantizeLinear" or _is_weight_dequantization(node):
            return f"weight-only ({node.op_type} {node.name or ''})".replace(" )", ")")
    return None


def quantizes_activations(model: ir.Model) -> bool:
    """Whether more than weights is quantized: an op shows it, or codes that are no constant are made numbers."""
    for node in model.graph.all_nodes():
        kind = _KIND_OF_OP.get(node.op_type, "weight-only")
        if kind != "weight-only" or (node.op_type == "DequantizeLinear" and get_const_tensor(node.inputs[0]) is None):
            return True
    return False


def takes_ranges_of_runs(model: ir.Model) -> bool:
    """Whether a node quantizes what it reads by the range of the whole tensor, so that samples of a batch share it."""
    return any(node.op_type in _RANGE_OPS for node in model.graph.all_nodes())


def _is_weight_dequantization(node: ir.Node) -> bool:
    """Whether ``node`` makes weights of stored codes: a Cast of 8-bit constants computed with, or a Gather of rows."""
    stored = get_const_tensor(node.inputs[0]) if node.op_type in ("Cast", "Gather") and node.inputs else None
    if stored is None or stored.dtype not in _QUANTIZED_DTYPES or stored.size < _MIN_WEIGHT_ELEMENTS:
        return False
    return node.op_type == "Gather" or any(map(_makes_weight, node.outputs[0].consumers()))


def _makes_weight(reader: ir.Node) -> bool:
    """Whether ``reader``, of what a Cast makes of 8-bit constants, goes on with constants, or is a layer: what is added to
    activations, looked up or counted up is a table that was stored in bytes.
    """
    if reader.op_type == "Gather":  # a codebook, where its values are scaled; else a table of few values
        return any(
            after.op_type in ("Mul", "Reshape") and _reads_constants(after) for after in reader.outputs[0].consumers()
        )
    return reader.op_type != "CumSum" and (reader.op_type in LAYER_OPS or _reads_constants(reader))


def _reads_constants(node: ir.Node) -> bool:
    """Whether nothing that ``node`` reads ever changes."""
    return all(map(is_made_of_constants, filter(None, node.inputs)))
