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

from onnxslim.simplify import symbols
from onnxslim.simplify.symbols import Poly

#: A shape has at most a few dozen entries; larger integer tensors are data.
SMALL = 64

#: Numbers of one tensor, an object array.
Array = np.ndarray


def objects(entries: Sequence[Any]) -> Array:
    """A vector of ``entries`` as they are."""
    array = np.empty(len(entries), object)
    array[:] = entries
    return array


def decided(array: Array) -> bool:
    """Whether every entry is a plain number."""
    return not any(isinstance(entry, Poly) for entry in array.flat)


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
            result = objects(entries).reshape(broadcast[0].shape)
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
    return objects([b if a else c for a, b, c in zip(truth.flat, one.flat, other.flat, strict=True)]).reshape(
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
    return objects([fill] * math.prod(dims)).reshape(dims)


def _expand(node: ir.Node, arrays: list[Any]) -> Array:
    dims = np.broadcast_shapes(arrays[0].shape, tuple(_small(_numbers(arrays[1]))))
    return np.asarray(np.broadcast_to(arrays[0], tuple(_small(dims))), object)


def _range(node: ir.Node, arrays: list[Any]) -> Array:
    start, limit, delta = (_numbers(array)[0] for array in arrays)
    if abs(limit - start) > SMALL * abs(delta):
        raise ValueError("data, not a shape")
    return objects(list(range(start, limit, delta)))


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
