"""Reshape, Flatten, Squeeze and Unsqueeze only look at the same elements under other dimensions:

- view(x) of the same dimensions → x
- view(view(x)) → Reshape(x, target)
- Reshape(x, computed target) → Reshape(x, constant target)

A target is constant when every dimension but one is a number, or a free dimension that x has at the same place (0
copies it); the one left is -1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import tensor
from onnxslim.simplify.arithmetic import axes, extent, lookup
from onnxslim.simplify.rule import Found, Rule, Scene, const, op, producer
from onnxslim.simplify.symbols import Number, equal, quotient, symbol

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def match(node: ir.Node, scene: Scene) -> Found:
    """The outermost of the views."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return None
    wanted = wanted_dims(node, scene)
    if wanted is None:
        return None
    known = extent(source)
    if known is not None and len(known) == len(wanted) and all(map(equal, known, wanted)):
        return {result: source}
    inner = producer(source, *VIEWS)
    if inner is not None and inner.inputs[0] is not None:
        if _checks(node, scene) or _checks(inner, scene):
            return "a Squeeze fails at run time unless the dimension is 1; a Reshape would not"
        target = spelled(wanted, extent(inner.inputs[0]))
        if target is not None:
            return {result: op("Reshape", [inner.inputs[0], const(target, result)])}
    if node.op_type == "Reshape" and tensor(node.inputs[1]) is None:
        target = spelled(wanted, known)
        if target is None:
            return "two of the dimensions it asks for are only known at run time"
        return {result: op("Reshape", [source, const(target, result)])}
    return None


def wanted_dims(node: ir.Node, scene: Scene) -> list[Number] | None:
    """The dimensions of the result: arithmetic knows the names of those asked for, inference what 0 and -1 came to."""
    dims = extent(node.outputs[0])
    target = lookup(node.inputs[1], scene.integers) if node.op_type == "Reshape" else None
    if target is None:
        return dims
    source = extent(node.inputs[0])
    copies = node.attributes.get_int("allowzero", 0) == 0
    wanted: list[Number] = []
    for axis, entry in enumerate(target.flat):
        inferred = dims[axis] if dims is not None and axis < len(dims) else None
        if isinstance(inferred, int):
            wanted.append(inferred)
        elif entry == 0 and copies:
            if source is None or axis >= len(source):
                return None
            wanted.append(source[axis])
        else:
            wanted.append(entry)
    if -1 in wanted:
        axis = wanted.index(-1)
        inferred = dims[axis] if dims is not None and axis < len(dims) else None
        wanted[axis] = 1
        left = None if source is None else quotient(math.prod(source), math.prod(wanted))
        wanted[axis] = next(
            (dim for dim in (left, inferred) if dim is not None), symbol(f"?{node.outputs[0].name}.{axis}")
        )
    return wanted


def _checks(node: ir.Node, scene: Scene) -> bool:
    """Whether ``node`` is a Squeeze of a dimension that is not known to be 1."""
    dims = extent(node.inputs[0])
    if node.op_type != "Squeeze" or dims is None:
        return node.op_type == "Squeeze"
    named = axes(node, scene.integers, len(dims))
    return named is None or any(dims[axis] != 1 for axis in named)


def spelled(wanted: Sequence[Number], source: Sequence[Number] | None) -> np.ndarray | None:
    """``wanted`` as a Reshape target for a tensor of dimensions ``source``, or None; (rank,) int64."""
    target: list[int] = []
    for axis, dim in enumerate(wanted):
        if isinstance(dim, int) and dim != 0:
            target.append(dim)
        elif source is not None and axis < len(source) and equal(dim, source[axis]):
            target.append(0)
        elif not isinstance(dim, int) and -1 not in target:
            target.append(-1)
        else:
            return None
    if -1 in target and 0 in wanted:
        return None  # nothing can be inferred from no elements
    return np.asarray(target, np.int64)


RULE = Rule("reshapes", VIEWS, match)
