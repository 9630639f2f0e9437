"""One op of shape arithmetic on numpy object arrays of numbers and symbols: a table of small functions.

To follow one more op, add a row: ``(node, arrays of its inputs) -> array`` (or arrays). A function raises TypeError,
ValueError, IndexError or KeyError when it cannot say; the value is then not followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.simplification.symbolic_shapes import polynomials
from onnxslim.simplification.symbolic_shapes.polynomials import Poly

#: A shape has at most a few dozen entries; larger integer tensors are data.
MAX_SHAPE_ENTRIES = 64

#: Numbers of one tensor, an object array.
SymbolicArray = np.ndarray


def make_vector(entries: Sequence[Any]) -> SymbolicArray:
    """A vector of ``entries`` as they are."""
    array = np.empty(len(entries), object)
    array[:] = entries
    return array


def is_concrete(array: SymbolicArray) -> bool:
    """Whether every entry is a plain number."""
    return not any(isinstance(entry, Poly) for entry in array.flat)


def _require_numbers(array: SymbolicArray | None) -> list[int]:
    """The entries of ``array`` as plain ints; raises TypeError when one of them is not known."""
    if array is None or not is_concrete(array):
        raise TypeError("not a constant")
    return [int(entry) for entry in array.flat]


def _read_axes(node: ir.Node, arrays: list[Any], index: int = 1) -> list[int] | None:
    """``axes``: an attribute up to opset 12 (17 for some), an input since."""
    if len(arrays) > index and arrays[index] is not None:
        return _require_numbers(arrays[index])
    return list(node.attributes.get_ints("axes")) if "axes" in node.attributes else None


def _elementwise(function: Callable[..., Any]) -> Callable[[ir.Node, list[Any]], SymbolicArray]:
    """``function`` over broadcast entries; an undecided one (None) raises TypeError."""

    def follow(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
        result: SymbolicArray = arrays[0]
        for other in arrays[1:] or [None]:
            broadcast = np.broadcast_arrays(*([result] if other is None else [result, other]))
            entries = [function(*entry) for entry in zip(*(array.flat for array in broadcast), strict=True)]
            if any(entry is None for entry in entries):
                raise TypeError("not decided")
            result = make_vector(entries).reshape(broadcast[0].shape)
        return result

    return follow


def _gather(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    data, indices = arrays
    at = np.asarray(_require_numbers(indices), np.int64).reshape(indices.shape)
    return np.asarray(np.take(data, at, axis=node.attributes.get_int("axis", 0)), object)


def _slice(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    data = arrays[0]
    if len(arrays) == 1:
        starts, ends = list(node.attributes.get_ints("starts")), list(node.attributes.get_ints("ends"))
        axes, steps = _read_axes(node, [data]), None
    else:
        starts, ends = _require_numbers(arrays[1]), _require_numbers(arrays[2])
        axes = _read_axes(node, arrays, 3)
        steps = _require_numbers(arrays[4]) if len(arrays) > 4 and arrays[4] is not None else None
    at = [slice(None)] * data.ndim
    for index, axis in enumerate(axes if axes is not None else range(len(starts))):
        at[axis] = slice(starts[index], ends[index], steps[index] if steps else 1)
    return np.asarray(data[tuple(at)], object)


def _unsqueeze(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    axes = _read_axes(node, arrays)
    assert axes is not None
    return np.asarray(np.expand_dims(arrays[0], tuple(axes)), object)


def _squeeze(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    axes = _read_axes(node, arrays)
    return np.asarray(np.squeeze(arrays[0], None if axes is None else tuple(axes)), object)


def _reshape(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    target = _require_numbers(arrays[1])
    if 0 in target:
        target = [arrays[0].shape[axis] if dim == 0 else dim for axis, dim in enumerate(target)]
    return np.asarray(arrays[0].reshape(target), object)


def _cast(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    to = node.outputs[0].dtype
    if to is ir.DataType.BOOL:
        return _elementwise(lambda x: _negate(polynomials.equal(x, 0)))(node, arrays[:1])
    return _elementwise(lambda x: x if isinstance(x, Poly) else int(x))(node, arrays[:1])


def _negate(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _where(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    condition, if_true, if_false = np.broadcast_arrays(*arrays)
    entries = [b if a else c for a, b, c in zip(condition.flat, if_true.flat, if_false.flat, strict=True)]
    return make_vector(entries).reshape(condition.shape)


def _reduce(combine: Callable[[Sequence[Any]], Any]) -> Callable[[ir.Node, list[Any]], SymbolicArray]:
    def follow(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
        axes = _read_axes(node, arrays)
        if arrays[0].ndim != 1 or axes not in (None, [0], [-1]) or "noop_with_empty_axes" in node.attributes:
            raise TypeError("not a vector")
        total = np.asarray(combine(list(arrays[0])), object)
        return total.reshape(1) if node.attributes.get_int("keepdims", 1) else total

    return follow


def _check_small(dims: Sequence[int]) -> list[int]:
    if math.prod(dims) > MAX_SHAPE_ENTRIES:
        raise ValueError("data, not a shape")
    return list(dims)


def _constant_of_shape(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    fill = node.attributes["value"].as_tensor().numpy().flat[0].item() if "value" in node.attributes else 0.0
    if isinstance(fill, float):
        raise TypeError("not an integer")
    dims = _check_small(_require_numbers(arrays[0]))
    return make_vector([fill] * math.prod(dims)).reshape(dims)


def _expand(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    dims = np.broadcast_shapes(arrays[0].shape, tuple(_check_small(_require_numbers(arrays[1]))))
    return np.asarray(np.broadcast_to(arrays[0], tuple(_check_small(dims))), object)


def _range(node: ir.Node, arrays: list[Any]) -> SymbolicArray:
    start, limit, delta = (_require_numbers(array)[0] for array in arrays)
    if abs(limit - start) > MAX_SHAPE_ENTRIES * abs(delta):
        raise ValueError("data, not a shape")
    return make_vector(list(range(start, limit, delta)))


def _split(node: ir.Node, arrays: list[Any]) -> list[SymbolicArray]:
    if len(arrays) > 1 and arrays[1] is not None:
        parts = _require_numbers(arrays[1])
    elif "split" in node.attributes:
        parts = list(node.attributes.get_ints("split"))
    else:
        raise TypeError("equal parts")
    pieces = np.split(arrays[0], np.cumsum(parts)[:-1], axis=node.attributes.get_int("axis", 0))
    return [np.asarray(piece, object) for piece in pieces]


def _minimum(a: Any, b: Any) -> Any:
    smaller = polynomials.less(a, b)
    return None if smaller is None else (a if smaller else b)


def _maximum(a: Any, b: Any) -> Any:
    smaller = polynomials.less(a, b)
    return None if smaller is None else (b if smaller else a)


#: op type -> (node, arrays of its inputs) -> array or arrays; raises when it cannot say
OP_EVALUATORS: dict[str, Callable[[ir.Node, list[Any]], SymbolicArray | list[SymbolicArray]]] = {
    "Abs": _elementwise(lambda x: x if polynomials.less(x, 0) is False else None),
    "Add": _elementwise(lambda a, b: a + b),
    "And": _elementwise(lambda a, b: bool(a and b)),
    "Cast": _cast,
    "CastLike": _cast,
    "Concat": lambda node, arrays: np.concatenate(arrays, axis=node.attributes.get_int("axis")),
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(polynomials.divide),
    "Equal": _elementwise(polynomials.equal),
    "Expand": _expand,
    "Gather": _gather,
    "Greater": _elementwise(lambda a, b: polynomials.less(b, a)),
    "GreaterOrEqual": _elementwise(lambda a, b: _negate(polynomials.less(a, b))),
    "Identity": lambda node, arrays: arrays[0],
    "Less": _elementwise(polynomials.less),
    "LessOrEqual": _elementwise(lambda a, b: _negate(polynomials.less(b, a))),
    "Max": _elementwise(_maximum),
    "Min": _elementwise(_minimum),
    "Mod": _elementwise(polynomials.modulo),
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
