"""How a graph makes an output: the ops at its end, seen through those that only move values about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array

#: Ops that leave the values what they are.
_TRANSPARENT_OPS = frozenset(
    (
        "Cast",
        "DequantizeLinear",
        "Dropout",
        "Flatten",
        "Identity",
        "QuantizeLinear",
        "Reshape",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
#: How far back a norm is looked for: Div ← Expand ← Clip ← Add ← Sqrt ← ReduceSum.
_MAX_NORM_DEPTH = 6
_NORM_PATH_OPS = frozenset((*_TRANSPARENT_OPS, "Add", "Clip", "Expand", "Max", "Pow", "Sqrt"))


#: Ops that make probabilities, whatever goes in.
PROBABILITY_OPS = frozenset(("HardSigmoid", "Sigmoid", "Softmax"))
#: Ops that give values of their first input, or means of them.
_RANGE_KEEPING_OPS = _TRANSPARENT_OPS | frozenset(
    ("AveragePool", "Compress", "Expand", "Gather", "GatherElements", "GatherND", "GlobalAveragePool", "GlobalMaxPool",
     "MaxPool", "ReduceMax", "ReduceMean", "ReduceMin", "Slice", "Tile")
)  # fmt: skip
#: Ops whose result lies between 0 and 1 where all that they read does.
_RANGE_JOINING_OPS = frozenset(("Concat", "Max", "Mean", "Min", "Mul"))
#: How far back probabilities are looked for.
_MAX_RANGE_DEPTH = 32


@dataclass(frozen=True)
class GraphEnding:
    """The op that makes an output, and what is known of it.

    Attributes:
        op: Its type; empty where the output is an input or a constant. Of an If, what ends both branches.
        axis: Its attribute ``axis``, where it has one.
        has_unit_length: It divides by the length of a vector.
        passed: The ops between it and the output, from the output back.
        probability_op: What makes every value a probability, or the mean of some, whatever goes in: ``Sigmoid``; empty where
            the graph does not say so.
        has_free_length: Of the axes behind the first one has no fixed size, and all the others are 1: one value a step.
    """

    op: str = ""
    axis: int | None = None
    has_unit_length: bool = False
    passed: tuple[str, ...] = ()
    probability_op: str = ""
    has_free_length: bool = False


def find_ending(model: ir.Model, output: str) -> GraphEnding:
    """How the graph of ``model`` makes ``output``."""
    value: ir.Value | None = next((v for v in model.graph.outputs if v.name == output), None)
    ops = _find_probability_ops(value, _MAX_RANGE_DEPTH, {}) or ()
    free_length = value is not None and value.shape is not None and _is_free_length(value.shape)
    return replace(_find_op(value, ()), probability_op=min(ops, default=""), has_free_length=free_length)


def _find_op(value: ir.Value | None, passed: tuple[str, ...]) -> GraphEnding:
    """The ending of ``value``, behind which ``passed`` was seen."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "If":
            first, *others = (_find_op(one, (*passed, "If")) for one in _get_branch_values(node, value))
            agrees = first.op and all((one.op, one.has_unit_length) == (first.op, first.has_unit_length) for one in others)
            return first if agrees else GraphEnding("If", passed=passed)
        if node.op_type not in _TRANSPARENT_OPS or not node.inputs:
            axis = node.attributes.get_int("axis", None) if "axis" in node.attributes else None
            return GraphEnding(node.op_type, axis, _divides_by_length(node), passed)
        passed = (*passed, node.op_type)
        value = node.inputs[0]
    return GraphEnding(passed=passed)


def _get_branch_values(node: ir.Node, value: ir.Value) -> list[ir.Value]:
    """What ``value``, an output of an If, is in either branch."""
    index = next(at for at, output in enumerate(node.outputs) if output is value)
    return [attribute.as_graph().outputs[index] for attribute in node.attributes.values()]


def _is_free_length(shape: ir.Shape) -> bool:
    sizes = [size for size in list(shape)[1:] if size != 1]
    return len(sizes) == 1 and not isinstance(sizes[0], int)


def _find_probability_ops(
    value: ir.Value | None, depth: int, known: dict[ir.Value, frozenset[str] | None]
) -> frozenset[str] | None:
    """The ops that make all of ``value`` lie between 0 and 1; none where constants and truth values do; None where it may
    lie elsewhere.
    """
    if value is None or depth == 0:
        return None
    if value not in known:
        known[value] = None
        known[value] = _find_ops_behind(value, depth, known)
    return known[value]


def _find_ops_behind(value: ir.Value, depth: int, known: dict[ir.Value, frozenset[str] | None]) -> frozenset[str] | None:
    constant, node = get_const_array(value), value.producer()
    if constant is not None:
        in_range = constant.dtype.kind in "fb" and bool(constant.size) and 0 <= constant.min() <= constant.max() <= 1
        return frozenset() if in_range else None
    if value.dtype == ir.DataType.BOOL:
        return frozenset()
    if node is None or node.domain:
        return None
    if node.op_type in PROBABILITY_OPS:
        return frozenset((node.op_type,))
    found = [_find_probability_ops(one, depth - 1, known) for one in _get_range_sources(node, value)]
    if not found or any(ops is None for ops in found):
        return None
    return frozenset[str]().union(*(ops for ops in found if ops is not None))


def _get_range_sources(node: ir.Node, value: ir.Value) -> list[ir.Value | None]:
    """What has to lie between 0 and 1 for ``value``, an output of ``node``, to do so; nothing where that would not help."""
    if node.op_type == "If":
        return list(_get_branch_values(node, value))
    if node.op_type in _RANGE_KEEPING_OPS and value is node.outputs[0]:
        return list(node.inputs[:1])
    if node.op_type == "Split":
        return list(node.inputs[:1])
    if node.op_type == "Where":
        return list(node.inputs[1:])
    if node.op_type in ("Clip", "Pad"):  # the bounds, and what fills up
        return [one for one in (node.inputs[0], *node.inputs[1 if node.op_type == "Clip" else 2 : 3]) if one is not None]
    if node.op_type == "Sub":  # one less it
        one = get_const_array(node.inputs[0])
        return [node.inputs[1]] if one is not None and one.size and (one == 1).all() else []
    return list(node.inputs) if node.op_type in _RANGE_JOINING_OPS else []


def _divides_by_length(node: ir.Node) -> bool:
    if node.op_type == "LpNormalization":
        return node.attributes.get_int("p", 2) == 2
    if node.op_type == "Mul":  # by the reciprocal
        return any(_is_length(value, _MAX_NORM_DEPTH, reciprocal=True) for value in node.inputs)
    return node.op_type == "Div" and len(node.inputs) == 2 and _is_length(node.inputs[1], _MAX_NORM_DEPTH)


def _is_length(value: ir.Value | None, depth: int, *, reciprocal: bool = False) -> bool:
    """Whether ``value`` is the root of a sum of squares."""
    node = None if value is None else value.producer()
    if node is None or depth == 0:
        return False
    if reciprocal:
        return node.op_type in ("Reciprocal", "Rsqrt") and bool(node.inputs) and _is_length(node.inputs[0], depth - 1)
    if node.op_type in ("ReduceL2", "ReduceSumSquare"):
        return True
    if node.op_type == "ReduceSum":
        squared = node.inputs[0].producer() if node.inputs[0] is not None else None
        return squared is not None and squared.op_type in ("Pow", "Mul", "Abs")
    return node.op_type in _NORM_PATH_OPS and any(_is_length(one, depth - 1) for one in node.inputs)
