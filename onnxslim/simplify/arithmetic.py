"""What shape arithmetic is known to yield: every small integer or boolean tensor as an array of numbers and symbols.

One walk in topological order, nested graphs included. The arrays are numpy object arrays of ints, bools and
:class:`onnxslim.simplify.symbols.Poly`, so Gather, Concat and Slice are numpy's own. A value that cannot be followed
gets symbols of its own, so that what is built around it is still known in part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import tensor
from onnxslim.simplify import symbols
from onnxslim.simplify.nested import walk
from onnxslim.simplify.symbols import ANY_SIGN, Poly, symbol

#: A shape has at most a few dozen entries; larger integer tensors are data.
SMALL = 64

#: Range of the integer types that shapes are computed in.
LIMITS = {
    ir.DataType.INT64: 2**62,
    ir.DataType.INT32: 2**31 - 1,
}

#: Numbers of one tensor, an object array; and what is known, by value.
Array = np.ndarray
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


def decided(array: Array) -> bool:
    """Whether every entry is a plain number."""
    return not any(isinstance(entry, Poly) for entry in array.flat)


def _unfollowed(value: ir.Value, known: Known) -> None:
    dims = shapes.static(value)
    if value.dtype in LIMITS and dims is not None and len(dims) <= 1 and math.prod(dims) <= SMALL:
        entries = [symbol(f"{ANY_SIGN}{value.name}[{index}]") for index in range(math.prod(dims))]
        known[value] = _objects(entries).reshape(dims)


def _objects(entries: Sequence[Any]) -> Array:
    array = np.empty(len(entries), object)
    array[:] = entries
    return array


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
    return _objects(dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))])


def _numbers(array: Array | None) -> list[int]:
    """Plain ints, or TypeError."""
    if array is None or not decided(array):
        raise TypeError("not a constant")
    return [int(entry) for entry in array.flat]


def _axes(node: ir.Node, arrays: list[Any], index: int = 1) -> list[int] | None:
    """``axes``: an attribute up to opset 12 (17 for some), an input since."""
    if len(arrays) > index and arrays[index] is not None:
        return _numbers(arrays[index])
    return list(node.attributes.get_ints("axes")) if "axes" in node.attributes else None


def _elementwise(function: Callable[..., Any]) -> Callable[[ir.Node, list[Any]], Array]:
    """``function`` over broadcast entries; an undecided one (None) raises TypeError."""

    def follow(node: ir.Node, arrays: list[Any]) -> Array:
        result: Array = arrays[0]
        for other in arrays[1:] or [None]:
            broadcast = np.broadcast_arrays(*([result] if other is None else [result, other]))
            entries = [function(*entry) for entry in zip(*(array.flat for array in broadcast), strict=True)]
            if any(entry is None for entry in entries):
                raise TypeError("not decided")
            result = _objects(entries).reshape(broadcast[0].shape)
        return result

    return follow


def _gather(node: ir.Node, arrays: list[Any]) -> Array:
    data, indices = arrays
    at = np.asarray(_numbers(indices), np.int64).reshape(indices.shape)
    return np.asarray(np.take(data, at, axis=node.attributes.get_int("axis", 0)), object)


def _slice(node: ir.Node, arrays: list[Any]) -> Array:
    data = arrays[0]
    if len(arrays) == 1:
        starts, ends = list(node.attributes.get_ints("starts")), list(node.attributes.get_ints("ends"))
        axes, steps = _axes(node, [data]), None
    else:
        starts, ends = _numbers(arrays[1]), _numbers(arrays[2])
        axes = _axes(node, arrays, 3)
        steps = _numbers(arrays[4]) if len(arrays) > 4 and arrays[4] is not None else None
    at = [slice(None)] * data.ndim
    for index, axis in enumerate(axes if axes is not None else range(len(starts))):
        at[axis] = slice(starts[index], ends[index], steps[index] if steps else 1)
    return np.asarray(data[tuple(at)], object)


def _unsqueeze(node: ir.Node, arrays: list[Any]) -> Array:
    axes = _axes(node, arrays)
    assert axes is not None
    return np.asarray(np.expand_dims(arrays[0], tuple(axes)), object)


def _squeeze(node: ir.Node, arrays: list[Any]) -> Array:
    axes = _axes(node, arrays)
    return np.asarray(np.squeeze(arrays[0], None if axes is None else tuple(axes)), object)


def _reshape(node: ir.Node, arrays: list[Any]) -> Array:
    target = _numbers(arrays[1])
    if 0 in target:
        target = [arrays[0].shape[axis] if dim == 0 else dim for axis, dim in enumerate(target)]
    return np.asarray(arrays[0].reshape(target), object)


def _cast(node: ir.Node, arrays: list[Any]) -> Array:
    to = node.outputs[0].dtype
    if to is ir.DataType.BOOL:
        return _elementwise(lambda x: _not(symbols.equal(x, 0)))(node, arrays[:1])
    return _elementwise(lambda x: x if isinstance(x, Poly) else int(x))(node, arrays[:1])


def _not(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _where(node: ir.Node, arrays: list[Any]) -> Array:
    truth, one, other = np.broadcast_arrays(*arrays)
    return _objects([b if a else c for a, b, c in zip(truth.flat, one.flat, other.flat, strict=True)]).reshape(
        truth.shape
    )


def _reduce(combine: Callable[[Sequence[Any]], Any]) -> Callable[[ir.Node, list[Any]], Array]:
    def follow(node: ir.Node, arrays: list[Any]) -> Array:
        axes = _axes(node, arrays)
        if arrays[0].ndim != 1 or axes not in (None, [0], [-1]) or "noop_with_empty_axes" in node.attributes:
            raise TypeError("not a vector")
        total = np.asarray(combine(list(arrays[0])), object)
        return total.reshape(1) if node.attributes.get_int("keepdims", 1) else total

    return follow


def _small(dims: Sequence[int]) -> list[int]:
    if math.prod(dims) > SMALL:
        raise ValueError("data, not a shape")
    return list(dims)


def _constant_of_shape(node: ir.Node, arrays: list[Any]) -> Array:
    fill = node.attributes["value"].as_tensor().numpy().flat[0].item() if "value" in node.attributes else 0.0
    if isinstance(fill, float):
        raise TypeError("not an integer")
    dims = _small(_numbers(arrays[0]))
    return _objects([fill] * math.prod(dims)).reshape(dims)


def _expand(node: ir.Node, arrays: list[Any]) -> Array:
    dims = np.broadcast_shapes(arrays[0].shape, tuple(_small(_numbers(arrays[1]))))
    return np.asarray(np.broadcast_to(arrays[0], tuple(_small(dims))), object)


def _range(node: ir.Node, arrays: list[Any]) -> Array:
    start, limit, delta = (_numbers(array)[0] for array in arrays)
    if abs(limit - start) > SMALL * abs(delta):
        raise ValueError("data, not a shape")
    return _objects(list(range(start, limit, delta)))


def _split(node: ir.Node, arrays: list[Any]) -> list[Array]:
    if len(arrays) > 1 and arrays[1] is not None:
        parts = _numbers(arrays[1])
    elif "split" in node.attributes:
        parts = list(node.attributes.get_ints("split"))
    else:
        raise TypeError("equal parts")
    pieces = np.split(arrays[0], np.cumsum(parts)[:-1], axis=node.attributes.get_int("axis", 0))
    return [np.asarray(piece, object) for piece in pieces]


def _least(a: Any, b: Any) -> Any:
    smaller = symbols.less(a, b)
    return None if smaller is None else (a if smaller else b)


def _most(a: Any, b: Any) -> Any:
    smaller = symbols.less(a, b)
    return None if smaller is None else (b if smaller else a)


#: op type -> (node, arrays of its inputs) -> array or arrays; raises when it cannot say
OPS: dict[str, Callable[[ir.Node, list[Any]], Array | list[Array]]] = {
    "Abs": _elementwise(lambda x: x if symbols.less(x, 0) is False else None),
    "Add": _elementwise(lambda a, b: a + b),
    "And": _elementwise(lambda a, b: bool(a and b)),
    "Cast": _cast,
    "CastLike": _cast,
    "Concat": lambda node, arrays: np.concatenate(arrays, axis=node.attributes.get_int("axis")),
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(symbols.divide),
    "Equal": _elementwise(symbols.equal),
    "Expand": _expand,
    "Gather": _gather,
    "Greater": _elementwise(lambda a, b: symbols.less(b, a)),
    "GreaterOrEqual": _elementwise(lambda a, b: _not(symbols.less(a, b))),
    "Identity": lambda node, arrays: arrays[0],
    "Less": _elementwise(symbols.less),
    "LessOrEqual": _elementwise(lambda a, b: _not(symbols.less(b, a))),
    "Max": _elementwise(_most),
    "Min": _elementwise(_least),
    "Mod": _elementwise(symbols.modulo),
    "Mul": _elementwise(lambda a, b: a * b),
    "Neg": _elementwise(lambda x: -x),
    "Not": _elementwise(lambda x: not x),
    "Or": _elementwise(lambda a, b: bool(a or b)),
    "Range": _range,
    "ReduceProd": _reduce(math.prod),
    "ReduceSum": _reduce(sum),
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _elementwise(lambda a, b: a - b),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
