"""Bounds on bounds: Relu(x) = max(x, 0) and Clip(x, a, b) = min(max(x, a), b).

- Clip(Clip(x, a, b), c, d) → Clip(x, max(a, c), min(b, d)) when the two intervals meet
- the same with a Relu on either side; Relu(Relu(x)) → Relu(x)
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxslim.graph.clip_bounds import get_clip_bounds
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer

#: Opset where the bounds of Clip became inputs.
INPUTS_SINCE_OPSET = 11


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The outer of the two."""
    source = node.inputs[0]
    inner = producer(source, "Relu", "Clip")
    if source is None or inner is None or inner.inputs[0] is None or source.dtype is None:
        return None
    inner_low, inner_high = get_clip_bounds(inner)
    outer_low, outer_high = get_clip_bounds(node)
    if inner_low is None or inner_high is None or outer_low is None or outer_high is None:
        return "its bounds are only known at run time"
    low, high = max(inner_low, outer_low), min(inner_high, outer_high)
    if low > high:
        return "the two intervals do not meet"
    if (low, high) == (inner_low, inner_high):
        return {node.outputs[0]: source}
    if not has_single_use(source):
        return f"the result of {inner.op_type} is read elsewhere"
    if (low, high) == (0, math.inf) and "Relu" in (inner.op_type, node.op_type):  # of a type that Relu takes
        return {node.outputs[0]: op("Relu", [inner.inputs[0]])}
    if context.opset < INPUTS_SINCE_OPSET:
        kept = {name: bound for name, bound in (("min", low), ("max", high)) if math.isfinite(bound)}
        return {node.outputs[0]: op("Clip", [inner.inputs[0]], kept)}
    dtype = source.dtype.numpy()
    ends = [const(np.asarray(end, dtype), node.outputs[0]) if math.isfinite(end) else None for end in (low, high)]
    return {node.outputs[0]: op("Clip", [inner.inputs[0], *ends])}


RULE = Rule("bounds", ("Relu", "Clip"), match)
