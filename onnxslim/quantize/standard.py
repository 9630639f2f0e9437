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

from onnxslim.account import Account
from onnxslim.quantize import blocks
from onnxslim.quantize.encode import quantise_weight, weight_scales
from onnxslim.quantize.integer import write_weights
from onnxslim.quantize.linear import Linear, Weight
from onnxslim.quantize.storable import Storable, storables
from onnxslim.quantize.write import Writer, drop_unread

#: The opset whose DequantizeLinear knows blocks and 4 bits.
OPSET = 21


def write(model: ir.Model, account: Account, bits: int, exclude: Sequence[str] = ()) -> None:
    """Every weight that layers read in codes of ``bits``, in place; tables, and what blocks do not fit, in 8.

    Args:
        model: Nodes named, opset 21 or newer.
        account: Told what was written and what was left.
        bits: 4 or 8.
        exclude: Regular expressions of nodes whose weights stay float.
    """
    writer = Writer(model)
    write_weights(writer, account, bits, exclude, _layers)
    others = storables(model, account, exclude)
    for storable in others:
        account.count(f"weights in int{_expand(writer, storable, bits)}, dequantised where they are read")
    if others:
        account.warnings.append(
            f"onnxruntime dequantises {len(others)} of these weights at every inference: for its CPU provider leave :qdq out"
        )


def _layers(writer: Writer, weight: Weight, bits: int) -> None:
    stem = str(weight.source.name)
    found, scales = blocks.signed(weight.array if weight.axis == 0 else weight.array.T, bits)
    codes = _codes(writer, stem, found.T, bits)
    steps = writer.constant(f"{stem}_scale", scales.T)
    for linear in weight.linears:
        _multiply(writer, linear, codes, steps, bits, flipped=linear.transposed != (weight.axis == 0))


def _multiply(
    writer: Writer, linear: Linear, codes: ir.Value, scales: ir.Value, bits: int, *, flipped: bool
) -> None:
    """A layer's DequantizeLinear of (K, N) and its product; ``flipped`` where another reader of the weight had its way."""
    node, shape = linear.node, codes.shape
    attributes = {"axis": 0, "block_size": blocks.SIZES[bits]}
    matrix = writer.before(
        node, "DequantizeLinear", codes, scales, name=f"{linear.name}_DequantizeLinear", attributes=attributes,
        dtype=ir.DataType.FLOAT, shape=shape,
    ).outputs[0]  # fmt: skip
    if flipped:
        matrix = writer.before(
            node, "Transpose", matrix, name=f"{linear.name}_Transpose", attributes={"perm": [1, 0]}, dtype=ir.DataType.FLOAT
        ).outputs[0]
    last = writer.before(node, "MatMul", linear.activation, matrix, name=f"{linear.name}_MatMul", dtype=ir.DataType.FLOAT)
    if linear.bias is not None:
        last.outputs[0].shape = node.outputs[0].shape
        last = writer.before(node, "Add", last.outputs[0], linear.bias, name=f"{linear.name}_Add")
    writer.take_over(node, last)
    last.name = linear.name


def _expand(writer: Writer, storable: Storable, bits: int) -> int:
    """Any other weight in codes and scales, dequantised once in front of all its readers; the bits it took."""
    stem, array = str(storable.value.name), storable.array
    blocked = bits == 4 and storable.axes == (0,) and array.ndim > 2 and array.shape[1] >= blocks.SIZES[4]
    attributes: dict[str, int]
    if blocked:
        # (outputs · taps, input channels), since blocks lie along one axis
        rows = np.moveaxis(array, 1, -1)
        found, scales = blocks.signed(rows.reshape(-1, array.shape[1]), 4)
        codes = np.moveaxis(found.reshape(rows.shape), -1, 1)
        steps = np.moveaxis(scales.reshape(*rows.shape[:-1], -1), -1, 1)
        attributes = {"axis": 1, "block_size": blocks.SIZES[4]}
    else:
        axis = storable.axes[0]
        steps = weight_scales(array, axis)
        codes, attributes = quantise_weight(array, steps, axis), {"axis": axis}
    used = 4 if blocked else 8
    stored, scale = _codes(writer, stem, codes, used), writer.constant(f"{stem}_scale", steps)
    dequantised = writer.before(
        writer.model.graph[0], "DequantizeLinear", stored, scale,
        name=f"{stem}_DequantizeLinear", attributes=attributes, dtype=ir.DataType.FLOAT, shape=ir.Shape(array.shape),
    )  # fmt: skip
    storable.value.replace_all_uses_with(dequantised.outputs[0])
    drop_unread(writer.model, storable.value)
    return used


def _codes(writer: Writer, stem: str, codes: np.ndarray, bits: int) -> ir.Value:
    return writer.constant(f"{stem}_quantized", codes, ir.DataType.INT4 if bits == 4 else ir.DataType.INT8)
