"""On which condition an op is worth its row in a target's table: ``node -> why it would not run in int8``, or None.

Targets share them, since most kernels want the same: constant float32 weights, constant biases, float arithmetic.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.clip_bounds import get_clip_bounds
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.layers import LinearLayer


def accept_always(node: ir.Node) -> str | None:
    """Nothing to check."""
    return None


def _get_float_weight(node: ir.Node) -> np.ndarray | None:
    weight = get_const_array(node.inputs[1]) if len(node.inputs) > 1 else None
    return weight if weight is not None and weight.dtype == np.float32 else None


def check_conv(node: ir.Node) -> str | None:
    """Constant float32 weights, and a constant bias where there is one."""
    if _get_float_weight(node) is None:
        return "its weights are not a float32 constant"
    if len(node.inputs) > 2 and node.inputs[2] is not None and get_const_array(node.inputs[2]) is None:
        return "its bias is not a constant"
    return None


def check_gemm(node: ir.Node) -> str | None:
    """Constant float32 weights, a constant bias vector, and nothing transposed or scaled beside them."""
    if _get_float_weight(node) is None:
        return "its weights are not a float32 constant"
    if node.attributes.get_int("transA", 0):
        return "transA is set"
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = get_const_array(node.inputs[2])
        if bias is None or bias.size != LinearLayer(node).outputs:
            return "its bias is not a constant vector over the outputs"
        if node.attributes.get_float("beta", 1.0) != 1.0:
            return "beta is not 1"
    return "alpha is not 1" if node.attributes.get_float("alpha", 1.0) != 1.0 else None


def check_matmul(node: ir.Node) -> str | None:
    """A constant float32 matrix on the right."""
    weight = get_const_array(node.inputs[1])
    if weight is None:
        return "neither input is a constant: two activations multiply"
    if weight.dtype != np.float32 or weight.ndim != 2:
        return "its weights are not a float32 matrix"
    return None


def check_float_arithmetic(node: ir.Node) -> str | None:
    """All inputs are float32."""
    return None if all(map(_is_float, node.inputs)) else "it is not float32 arithmetic"


def _is_float(value: ir.Value | None) -> bool:
    """Whether ``value`` passes for float32; a type that inference did not find does."""
    array = get_const_array(value)
    if array is not None and array.dtype != np.float32:
        return False
    return value is None or value.dtype in (None, ir.DataType.FLOAT)


def check_where(node: ir.Node) -> str | None:
    """Between floats, without an infinite constant: int8 has no infinity."""
    for value in node.inputs[1:]:
        if not _is_float(value):
            return "it does not choose between floats"
        if (array := get_const_array(value)) is not None and not np.isfinite(array).all():
            return "one of its constants is infinite"
    return None


def check_average_pool(node: ir.Node) -> str | None:
    """Windows do not reach over the edge."""
    if node.attributes.get_int("ceil_mode", 0):
        return "ceil_mode is set"
    return None


def check_softmax(node: ir.Node) -> str | None:
    """Along the last axis."""
    rank = len(shapes.get_dims(node.inputs[0]) or ())
    axis = node.attributes.get_int("axis", -1)
    return None if axis in (-1, rank - 1) else "its axis is not the last one"


def check_resize(node: ir.Node) -> str | None:
    """Nearest neighbours: it only moves data."""
    mode = node.attributes.get_string("mode", "nearest")
    return None if mode == "nearest" else f"mode is {mode}, not nearest"


def check_clip(node: ir.Node) -> str | None:
    """Constant bounds."""
    low, high = get_clip_bounds(node)
    return None if low is not None and high is not None else "its bounds are not constant"


def check_moves_float(node: ir.Node) -> str | None:
    """A float activation moves."""
    if get_const_array(node.inputs[0]) is not None:
        return "it moves a constant"
    return None if _is_float(node.inputs[0]) else "it does not move floats"
