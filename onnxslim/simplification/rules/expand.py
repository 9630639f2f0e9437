"""Expand(x, s) → x when s asks for nothing that x has not: every entry is 1 or x's own dimension."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule
from onnxslim.simplification.symbolic_shapes.inference import lookup_integers, symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import equal


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """``s`` is aligned at the right, as broadcasting is."""
    source = node.inputs[0]
    dims, target = symbolic_dims(source), lookup_integers(node.inputs[1], context.integers)
    if source is None or dims is None or target is None or len(target) > len(dims):
        return None
    pairs = zip(target, dims[len(dims) - len(target) :], strict=True)
    if all(entry == 1 or equal(entry, dim) for entry, dim in pairs):
        return {node.outputs[0]: source}
    return None


RULE = Rule("expansions", ("Expand",), match)
