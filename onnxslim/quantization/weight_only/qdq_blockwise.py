"""Weights in 8 or 4 bits in the standard's own form: codes and a DequantizeLinear in front of each layer.

MatMulNBits is onnxruntime's op. What other runtimes read is a DequantizeLinear with a scale for each block of weights (ONNX,
opset 21)::

    y = MatMul(x, DequantizeLinear(W, scales, axis=0, block_size=32)) + bias

onnxruntime's CPU provider makes MatMulNBits of that when it loads the model; TensorRT reads it as it is. Convolutions are
written the same way, in blocks of input channels or with a scale for each output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.dynamic.rewrite import write_weights
from onnxslim.quantization.linear_layers import MatMulLayer, WeightMatrix
from onnxslim.quantization.numerics import blockwise
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight
from onnxslim.quantization.weight_only.weights import WeightTensor, find_weight_tensors

#: The opset whose DequantizeLinear knows blocks and 4 bits.
BLOCKWISE_OPSET = 21


def write_blockwise_qdq(model: ir.Model, bits: int, exclude: Sequence[str] = (), *, only_qdq: bool = False) -> StepReport:
    """Every weight that layers read in codes of ``bits``, in place; tables, and what blocks do not fit, in 8.

    Args:
        model: Nodes named, opset 21 or newer.
        bits: 4 or 8.
        exclude: Regular expressions of nodes whose weights stay float.
        only_qdq: It is for a runtime that takes int8 from Q/DQ alone: embedding tables are dequantised whole, where else
            only the rows that are looked up are converted.
    """
    report = write_weights(model, bits, exclude, _write_linear_layers, min_table_elements=np.inf if only_qdq else 0)
    editor = GraphEditor(model.graph)
    other_weights, report.skipped = find_weight_tensors(model, exclude)
    for weight_tensor in other_weights:
        report.count(f"weights in int{_write_dequantized(editor, weight_tensor, bits)}, dequantised where they are read")
    if other_weights and not only_qdq:
        report.warnings.append(
            f"onnxruntime dequantises {len(other_weights)} of these weights at every inference: "
            f"for its CPU provider leave :qdq out"
        )
    return report


def _write_linear_layers(editor: GraphEditor, weight: WeightMatrix, bits: int) -> None:
    """The codes of ``weight`` in the graph that reads them, a DequantizeLinear for each of its layers.

    onnxruntime fuses the two where they stand, and fails on codes that are a graph further out. So a weight that several
    graphs read (the branches of an If) is dequantised in the main one for all bodies, as a tensor like any other.
    """
    stem = str(weight.weight_value.name)
    block_codes, block_scales = blockwise.quantize_symmetric(
        weight.array if weight.scale_axis == 0 else weight.array.T, bits
    )
    graphs = list(dict.fromkeys(linear.node.graph for linear in weight.linear_layers))
    home = graphs[0] if len(graphs) == 1 and isinstance(graphs[0], ir.Graph) else editor.graph
    codes = _add_codes(editor, stem, block_codes.T, bits, home)
    scales = editor.add_initializer(f"{stem}_scale", block_scales.T, graph=home)
    shared: ir.Value | None = None
    for linear in weight.linear_layers:
        if linear.node.graph is home:
            matrix = _add_dequantize(editor, codes, scales, bits, f"{linear.name}_DequantizeLinear", linear.node)
        else:
            matrix = shared = shared or _add_dequantize(
                editor, codes, scales, bits, f"{stem}_DequantizeLinear", editor.graph[0]
            )
        _write_product(editor, linear, matrix, flipped=linear.transposed != (weight.scale_axis == 0))


def _add_dequantize(
    editor: GraphEditor, codes: ir.Value, scales: ir.Value, bits: int, name: str, before: ir.Node
) -> ir.Value:
    return editor.add_node(
        "DequantizeLinear", codes, scales, before=before, name=name,
        attributes={"axis": 0, "block_size": blockwise.BLOCK_SIZES[bits]}, dtype=ir.DataType.FLOAT, shape=codes.shape,
    )  # fmt: skip


def _write_product(editor: GraphEditor, linear: MatMulLayer, matrix: ir.Value, *, flipped: bool) -> None:
    """A layer's product with what is dequantised, (K, N); ``flipped`` where another reader of the weight had its way."""
    node = linear.node
    if flipped:
        matrix = editor.add_node(
            "Transpose", matrix, before=node, name=f"{linear.name}_Transpose",
            attributes={"perm": [1, 0]}, dtype=ir.DataType.FLOAT,
        )  # fmt: skip
    last = editor.add_node(
        "MatMul", linear.activation, matrix, before=node, name=f"{linear.name}_MatMul", dtype=ir.DataType.FLOAT
    )
    if linear.bias is not None:
        last.shape = node.outputs[0].shape
        last = editor.add_node("Add", last, linear.bias, before=node, name=f"{linear.name}_Add")
    editor.replace_node(node, last)


def _write_dequantized(editor: GraphEditor, weight_tensor: WeightTensor, bits: int) -> int:
    """Any other weight in codes and scales, dequantised once in front of all its readers; the bits it took."""
    stem, array = str(weight_tensor.value.name), weight_tensor.array
    is_blockwise = (
        bits == 4 and weight_tensor.scale_axes == (0,) and array.ndim > 2 and array.shape[1] >= blockwise.BLOCK_SIZES[4]
    )
    attributes: dict[str, int]
    if is_blockwise:
        # (outputs · taps, input channels), since blocks lie along one axis
        rows = np.moveaxis(array, 1, -1)
        row_codes, row_scales = blockwise.quantize_symmetric(rows.reshape(-1, array.shape[1]), 4)
        codes = np.moveaxis(row_codes.reshape(rows.shape), -1, 1)
        stored_scales = np.moveaxis(row_scales.reshape(*rows.shape[:-1], -1), -1, 1)
        attributes = {"axis": 1, "block_size": blockwise.BLOCK_SIZES[4]}
    else:
        axis = weight_tensor.scale_axes[0]
        stored_scales = compute_weight_scales(array, axis)
        codes, attributes = quantize_weight(array, stored_scales, axis), {"axis": axis}
    used_bits = 4 if is_blockwise else 8
    codes_value = _add_codes(editor, stem, codes, used_bits)
    scale_value = editor.add_initializer(f"{stem}_scale", stored_scales)
    first = editor.graph[0]
    dequantized = editor.add_node(
        "DequantizeLinear", codes_value, scale_value, before=first,
        name=f"{stem}_DequantizeLinear", attributes=attributes, dtype=ir.DataType.FLOAT, shape=ir.Shape(array.shape),
    )  # fmt: skip
    weight_tensor.replace(editor, dequantized, first)
    return used_bits


def _add_codes(editor: GraphEditor, stem: str, codes: np.ndarray, bits: int, graph: ir.Graph | None = None) -> ir.Value:
    dtype = ir.DataType.INT4 if bits == 4 else ir.DataType.INT8
    return editor.add_initializer(f"{stem}_quantized", codes, dtype, graph=graph)
