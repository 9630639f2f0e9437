"""What shape arithmetic is known to yield: every small integer or boolean tensor as an array of numbers and symbols.

One walk in topological order, nested graphs included. The arrays are numpy object arrays of ints, bools and
:class:`onnxslim.simplify.symbols.Poly`, so Gather, Concat and Slice are numpy's own. A value that cannot be followed
gets symbols of its own, so that what is built around it is still known in part.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import tensor
from onnxslim.simplify import symbols
from onnxslim.simplify.nested import walk
from onnxslim.simplify.ops import OPS, SMALL, Array, decided, objects
from onnxslim.simplify.symbols import ANY_SIGN, Poly, symbol

#: Range of the integer types that shapes are computed in.
LIMITS = {
    ir.DataType.INT64: 2**62,
    ir.DataType.INT32: 2**31 - 1,
}

#: What is known, by value.
Known = dict[ir.Value, Array]


def integers(model: ir.Model) -> Known:
    """Follow the shape arithmetic of ``model``, whose shapes have been inferred."""
    known: Known = {}
    for value in model.graph.inputs:
        _unfollowed(value, known)
    for node in walk(model.graph):
        result = _evaluate(node, known)
        results = result if isinstance(result, list) else [result]
        for output, array in zip(node.outputs, results, strict=False):
            if array is not None and _fits(output, array):
                known[output] = array
        for output in node.outputs:
            if output not in known:
                _unfollowed(output, known)
    return known


def lookup(value: ir.Value | None, known: Known) -> Array | None:
    """What is known of ``value``: an object array, from a constant or from arithmetic."""
    if value is None:
        return None
    if value in known:
        return known[value]
    found = tensor(value)
    if found is None or found.size > SMALL or not (found.dtype in LIMITS or found.dtype is ir.DataType.BOOL):
        return None
    return np.asarray(found.numpy(), object)


def extent(value: ir.Value | None) -> list[symbols.Number] | None:
    """The dimensions of ``value``; one without a name gets a symbol that nothing else equals."""
    dims = shapes.dims(value)
    if dims is None or value is None:
        return None
    return [dim if isinstance(dim, int) else symbol(dim or f"?{value.name}.{axis}") for axis, dim in enumerate(dims)]


def axes(node: ir.Node, known: Known, rank: int, index: int = 1) -> list[int] | None:
    """The axes that ``node`` names, counted from the front: an attribute in older opsets, input ``index`` in newer.

    None when it names none, or when they are only known at run time.
    """
    if len(node.inputs) > index and node.inputs[index] is not None:
        entries = lookup(node.inputs[index], known)
        if entries is None or not decided(entries):
            return None
        return [int(axis) % rank for axis in entries.flat]
    return [axis % rank for axis in node.attributes.get_ints("axes")] if "axes" in node.attributes else None


def _unfollowed(value: ir.Value, known: Known) -> None:
    dims = shapes.static(value)
    if value.dtype in LIMITS and dims is not None and len(dims) <= 1 and math.prod(dims) <= SMALL:
        entries = [symbol(f"{ANY_SIGN}{value.name}[{index}]") for index in range(math.prod(dims))]
        known[value] = objects(entries).reshape(dims)


def _fits(value: ir.Value, array: Array) -> bool:
    if array.size > SMALL:
        return False
    if value.dtype is ir.DataType.BOOL:
        return all(isinstance(entry, (bool, np.bool_)) for entry in array.flat)
    limit = LIMITS.get(value.dtype) if value.dtype is not None else None
    return limit is not None and all(
        isinstance(entry, Poly) or (isinstance(entry, int) and abs(entry) <= limit) for entry in array.flat
    )


def _evaluate(node: ir.Node, known: Known) -> Array | list[Array] | None:
    if node.domain or not node.inputs:
        return None
    if node.op_type in ("Shape", "Size"):
        return _of_extent(node)
    follow = OPS.get(node.op_type)
    if follow is None:
        return None
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    arrays = [lookup(value, known) for value in inputs]
    if any(array is None and value is not None for array, value in zip(arrays, inputs, strict=True)):
        return None
    try:
        return follow(node, arrays)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return None  # malformed or not decidable; the runtime will say


def _of_extent(node: ir.Node) -> Array | None:
    dims = extent(node.inputs[0])
    if dims is None:
        return None
    if node.op_type == "Size":
        return np.asarray(math.prod(dims), object)
    return objects(dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))])
