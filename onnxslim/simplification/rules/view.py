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

from onnxslim.graph.constants import get_const_tensor
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, op, producer
from onnxslim.simplification.symbolic_shapes.inference import lookup_integers, resolve_axes, symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import Number, equal, exact_quotient, symbol

VIEW_OPS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The outermost of the views."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return None
    target_dims = get_target_dims(node, context)
    if target_dims is None:
        return None
    known = symbolic_dims(source)
    if known is not None and len(known) == len(target_dims) and all(map(equal, known, target_dims)):
        return {result: source}
    inner = producer(source, *VIEW_OPS)
    if inner is not None and inner.inputs[0] is not None:
        if _may_fail(node, context) or _may_fail(inner, context):
            return "a Squeeze fails at run time unless the dimension is 1; a Reshape would not"
        target = make_reshape_target(target_dims, symbolic_dims(inner.inputs[0]))
        if target is not None:
            return {result: op("Reshape", [inner.inputs[0], const(target, result)])}
    if node.op_type == "Reshape" and get_const_tensor(node.inputs[1]) is None:
        target = make_reshape_target(target_dims, known)
        if target is None:
            return "two of the dimensions it asks for are only known at run time"
        return {result: op("Reshape", [source, const(target, result)])}
    return None


def get_target_dims(node: ir.Node, context: MatchContext) -> list[Number] | None:
    """The dimensions of the result: arithmetic knows the names of those asked for, inference what 0 and -1 came to."""
    dims = symbolic_dims(node.outputs[0])
    target = lookup_integers(node.inputs[1], context.integers) if node.op_type == "Reshape" else None
    if target is None:
        return dims
    source = symbolic_dims(node.inputs[0])
    copies = node.attributes.get_int("allowzero", 0) == 0
    target_dims: list[Number] = []
    for axis, entry in enumerate(target.flat):
        inferred = dims[axis] if dims is not None and axis < len(dims) else None
        if isinstance(inferred, int):
            target_dims.append(inferred)
        elif entry == 0 and copies:
            if source is None or axis >= len(source):
                return None
            target_dims.append(source[axis])
        else:
            target_dims.append(entry)
    if -1 in target_dims:
        axis = target_dims.index(-1)
        inferred = dims[axis] if dims is not None and axis < len(dims) else None
        target_dims[axis] = 1
        left = None if source is None else exact_quotient(math.prod(source), math.prod(target_dims))
        target_dims[axis] = next(
            (dim for dim in (left, inferred) if dim is not None), symbol(f"?{node.outputs[0].name}.{axis}")
        )
    return target_dims


def _may_fail(node: ir.Node, context: MatchContext) -> bool:
    """Whether ``node`` is a Squeeze of a dimension that is not known to be 1."""
    dims = symbolic_dims(node.inputs[0])
    if node.op_type != "Squeeze" or dims is None:
        return node.op_type == "Squeeze"
    named = resolve_axes(node, context.integers, len(dims))
    return named is None or any(dims[axis] != 1 for axis in named)


def make_reshape_target(target_dims: Sequence[Number], source: Sequence[Number] | None) -> np.ndarray | None:
    """``target_dims`` as a Reshape target for a tensor of dimensions ``source``, or None; (rank,) int64."""
    target: list[int] = []
    for axis, dim in enumerate(target_dims):
        if isinstance(dim, int) and dim != 0:
            target.append(dim)
        elif source is not None and axis < len(source) and equal(dim, source[axis]):
            target.append(0)
        elif not isinstance(dim, int) and -1 not in target:
            target.append(-1)
        else:
            return None
    if -1 in target and 0 in target_dims:
        return None  # nothing can be inferred from no elements
    return np.asarray(target, np.int64)


RULE = Rule("reshapes", VIEW_OPS, match)
