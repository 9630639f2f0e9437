"""Shape arithmetic that is wholly known → the constant: Gather(Shape(x), 1) → 3 for x of (batch, 3, h, w)."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const
from onnxslim.simplification.symbolic_shapes.ops import OP_EVALUATORS, is_concrete


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """Every output that is read must be known."""
    constants: dict[ir.Value, ir.Value] = {}
    for output in node.outputs:
        array = context.integers.get(output)
        if array is None or not is_concrete(array) or output.dtype is None:
            return None
        constants[output] = const(array.astype(output.dtype.numpy()), output)
    return constants


RULE = Rule("shape arithmetic", ("Shape", "Size", *OP_EVALUATORS), match)
