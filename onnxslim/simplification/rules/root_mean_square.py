"""Norms by the root mean square as the runtime's one kernel for them knows them:

- x · (1 / √(mean(x²) + ε)) · w → x / √(mean(x²) + ε) · w; PyTorch exports torch.rsqrt as two nodes
- x · x → x², a Pow, in front of that mean

With x - mean(x) for x it is a layer norm, with its shift behind the weights (RMSNorm: Zhang and Sennrich, 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer
from onnxslim.simplification.speed.claim import ConstantSpec, SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """What is normalized times the reciprocal of its root mean square, or divided by that."""
    if node.op_type == "Div":
        source, root = node.inputs
        norm = _find_norm(root, source, context)
        return None if norm is None or norm.has_power else _divide(node, norm, root, context)
    for position, factor in enumerate(node.inputs):
        source, root = node.inputs[1 - position], _find_root(factor)
        if (norm := _find_norm(root, source, context)) is not None:
            return _divide(node, norm, factor, context)
    return None


@dataclass(frozen=True)
class _Norm:
    """√(mean(source²) + ε), the mean over the last axis alone: its nodes, and whether the square is a Pow."""

    source: ir.Value
    root: ir.Node
    mean: ir.Node
    epsilon: ir.Value
    has_power: bool


def _divide(node: ir.Node, norm: _Norm, divisor: ir.Value | None, context: MatchContext) -> MatchResult:
    """The division in the place of ``node``, by what is ``divisor`` or its reciprocal now."""
    if divisor is None or not has_single_use(divisor):
        return "the root mean square is read elsewhere"
    if context.weighs_speed and not _is_scaled(node.outputs[0]):
        return "slower: where no weights follow the runtime has no kernel for it, and a product is faster than a division"
    root = norm.root.outputs[0]
    if not norm.has_power:
        squares = op("Pow", [norm.source, const(np.asarray(2, np.float32), norm.source)])
        mean = op("ReduceMean", [squares, *norm.mean.inputs[1:]], norm.mean.attributes)
        root = op("Sqrt", [op("Add", [mean, norm.epsilon])])
    return {node.outputs[0]: op("Div", [norm.source, root])}


def _find_root(value: ir.Value | None) -> ir.Value | None:
    """What ``value`` is the reciprocal of."""
    reciprocal = producer(value, "Reciprocal", "Div")
    if reciprocal is None:
        return None
    one = None if reciprocal.op_type == "Reciprocal" else get_const_array(reciprocal.inputs[0])
    # of more axes it would give the result more than the division does
    is_one = one is not None and one.size == 1 and one.ndim <= 1 and one.flat[0] == 1
    is_reciprocal = reciprocal.op_type == "Reciprocal" or is_one
    return reciprocal.inputs[-1] if is_reciprocal else None


def _find_norm(value: ir.Value | None, source: ir.Value | None, context: MatchContext) -> _Norm | None:
    """The root mean square of ``source`` that ``value`` is."""
    root = producer(value, "Sqrt")
    shift = None if root is None else producer(root.inputs[0], "Add")
    if root is None or shift is None or source is None or source.dtype != ir.DataType.FLOAT:
        return None
    for position, epsilon in enumerate(shift.inputs):
        mean, array = producer(shift.inputs[1 - position], "ReduceMean"), get_const_array(epsilon)
        if mean is None or epsilon is None or array is None or array.size != 1 or not _is_of_rows(mean, context):
            continue
        square = producer(mean.inputs[0], "Pow", "Mul")
        if square is None or square.inputs[0] is not source:
            continue
        exponent = get_const_array(square.inputs[1])
        has_power = square.op_type == "Pow" and exponent is not None and bool(np.all(exponent == 2))
        if has_power or (square.op_type == "Mul" and square.inputs[1] is source):
            return _Norm(source, root, mean, epsilon, has_power)
    return None


def _is_of_rows(mean: ir.Node, context: MatchContext) -> bool:
    rank = len(shapes.get_dims(mean.inputs[0]) or ())
    is_last = bool(rank) and resolve_axes(mean, context.integers, rank) == [rank - 1]
    return is_last and bool(mean.attributes.get_int("keepdims", 1))


def _is_scaled(normalized: ir.Value) -> bool:
    """Whether all that follows is a product with one weight for each place of the last axis."""
    reader = next(iter(normalized.uses())).node if has_single_use(normalized) else None
    if reader is None or reader.op_type != "Mul" or reader.domain:
        return False
    weights = [get_const_array(value) for value in reader.inputs if value is not normalized]
    return len(weights) == 1 and weights[0] is not None and weights[0].ndim == 1


_GRAPH = """(float[1,64,256] x) => (float[1,64,256] y) {{
    p = Pow (x, two) m = ReduceMean (p, last) a = Add (m, eps) s = Sqrt (a) r = Reciprocal (s) n = Mul (x, r) {end} }}"""
_CONSTANTS: dict[str, ConstantSpec] = {"two": 2.0, "last": [-1], "eps": 1e-6}
_CLAIMS = (
    SpeedClaim("64 rows of 256", _GRAPH.format(end="y = Mul (n, w)"), gains=True, constants={**_CONSTANTS, "w": (256,)}),
    SpeedClaim("64 rows of 256 without weights", _GRAPH.format(end="y = Relu (n)"), gains=False, constants=_CONSTANTS),
)
RULE = Rule("root mean squares", ("Mul", "Div"), match, rounds=True, claims=_CLAIMS)
