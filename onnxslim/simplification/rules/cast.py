"""Casts:

- Cast(x, its own type) → x;  CastLike(x, y) → Cast(x, type of y)
- Cast(Cast(x, b), c) → Cast(x, c) when b holds every value of x's type
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op, producer


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The outer Cast."""
    source = node.inputs[0]
    if source is None or source.dtype is None:
        return None
    if node.op_type == "CastLike":
        like = node.inputs[1]
        if like is None or like.dtype is None:
            return None
        to = like.dtype
    else:
        to = ir.DataType(node.attributes.get_int("to"))
    if source.dtype is to:
        return {node.outputs[0]: source}
    inner = producer(source, "Cast")
    if inner is not None and inner.inputs[0] is not None and inner.inputs[0].dtype is not None:
        if not _can_hold(source.dtype, inner.inputs[0].dtype):
            return f"the Cast to {source.dtype.name} before it loses digits"
        source = inner.inputs[0]
    elif node.op_type == "Cast":
        return None
    kept = {name: value for name, value in node.attributes.items() if name != "to"}
    return {node.outputs[0]: op("Cast", [source], {**kept, "to": int(to)})}


def _can_hold(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether every value of ``narrow`` survives a Cast to ``wide``."""
    if ir.DataType.STRING in (wide, narrow):
        return False
    try:
        return bool(np.can_cast(narrow.numpy(), wide.numpy(), "safe"))
    except TypeError:
        return False


RULE = Rule("casts", ("Cast", "CastLike"), match)
