"""What shape arithmetic is known to yield: every small integer or boolean tensor as an array of numbers and symbols.

One walk in topological order, nested graphs included. The arrays are numpy object arrays of ints, bools and
:class:`onnxslim.simplification.symbolic_shapes.polynomials.Poly`, so Gather, Concat and Slice are numpy's own. A value
that cannot be followed gets symbols of its own, so that what is built around it is still known in part.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import walk
from onnxslim.simplification.symbolic_shapes import polynomials
from onnxslim.simplification.symbolic_shapes.ops import (
    MAX_SHAPE_ENTRIES,
    OP_EVALUATORS,
    SymbolicArray,
    is_concrete,
    make_vector,
)
from onnxslim.simplification.symbolic_shapes.polynomials import ANY_SIGN, Poly, symbol

#: Range of the integer types that shapes are computed in.
MAX_INTEGERS = {ir.DataType.INT64: 2**62, ir.DataType.INT32: 2**31 - 1}

#: What is known, by value.
KnownIntegers = dict[ir.Value, SymbolicArray]


def propagate_integers(model: ir.Model) -> KnownIntegers:
    """Follow the shape arithmetic of ``model``, whose shapes have been inferred."""
    known: KnownIntegers = {}
    for value in model.graph.inputs:
        _assign_symbols(value, known)
    for node in walk(model.graph):
        result = _evaluate(node, known)
        results = result if isinstance(result, list) else [result]
        for output, array in zip(node.outputs, results, strict=False):
            if array is not None and _is_in_range(output, array):
                known[output] = array
        for output in node.outputs:
            if output not in known:
                _assign_symbols(output, known)
    return known


def lookup_integers(value: ir.Value | None, known: KnownIntegers) -> SymbolicArray | None:
    """What is known of ``value``: an object array, from a constant or from arithmetic."""
    if value is None:
        return None
    if value in known:
        return known[value]
    stored = get_const_tensor(value)
    if stored is None or stored.size > MAX_SHAPE_ENTRIES or stored.dtype not in (*MAX_INTEGERS, ir.DataType.BOOL):
        return None
    return np.asarray(stored.numpy(), object)


def symbolic_dims(value: ir.Value | None) -> list[polynomials.Number] | None:
    """The dimensions of ``value``; one without a name gets a symbol that nothing else equals."""
    dims = shapes.get_dims(value)
    if dims is None or value is None:
        return None
    return [dim if isinstance(dim, int) else symbol(dim or f"?{value.name}.{axis}") for axis, dim in enumerate(dims)]


def resolve_axes(node: ir.Node, known: KnownIntegers, rank: int, index: int = 1) -> list[int] | None:
    """The axes that ``node`` names, counted from the front: an attribute in older opsets, input ``index`` in newer.

    None when it names none, or when they are only known at run time.
    """
    if len(node.inputs) > index and node.inputs[index] is not None:
        entries = lookup_integers(node.inputs[index], known)
        if entries is None or not is_concrete(entries):
            return None
        return [int(axis) % rank for axis in entries.flat]
    return [axis % rank for axis in node.attributes.get_ints("axes")] if "axes" in node.attributes else None


def _assign_symbols(value: ir.Value, known: KnownIntegers) -> None:
    dims = shapes.get_static_dims(value)
    if value.dtype in MAX_INTEGERS and dims is not None and len(dims) <= 1 and math.prod(dims) <= MAX_SHAPE_ENTRIES:
        entries = [symbol(f"{ANY_SIGN}{value.name}[{index}]") for index in range(math.prod(dims))]
        known[value] = make_vector(entries).reshape(dims)


def _is_in_range(value: ir.Value, array: SymbolicArray) -> bool:
    if array.size > MAX_SHAPE_ENTRIES:
        return False
    if value.dtype is ir.DataType.BOOL:
        return all(isinstance(entry, (bool, np.bool_)) for entry in array.flat)
    limit = MAX_INTEGERS.get(value.dtype) if value.dtype is not None else None
    return limit is not None and all(
        isinstance(entry, Poly) or (isinstance(entry, int) and abs(entry) <= limit) for entry in array.flat
    )


def _evaluate(node: ir.Node, known: KnownIntegers) -> SymbolicArray | list[SymbolicArray] | None:
    if node.domain or not node.inputs:
        return None
    if node.op_type in ("Shape", "Size"):
        dims = symbolic_dims(node.inputs[0])
        if dims is None or node.op_type == "Size":
            return None if dims is None else np.asarray(math.prod(dims), object)
        return make_vector(dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))])
    evaluator = OP_EVALUATORS.get(node.op_type)
    if evaluator is None:
        return None
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    arrays = [lookup_integers(value, known) for value in inputs]
    if any(array is None and value is not None for array, value in zip(arrays, inputs, strict=True)):
        return None
    try:
        return evaluator(node, arrays)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return None  # malformed or not decidable; the runtime will say
