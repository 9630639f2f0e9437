"""If(c, then, else) → the branch it takes, in place, when c is known, or when what reads the result accepts the rank of
one branch only (see :mod:`onnxslim.simplification.rank_inference`).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rank_inference import find_accepted_ranks, find_possible_ranks
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The nodes of the branch are taken out of it here, so what is returned must always be accepted."""
    known = get_const_array(node.inputs[0])
    if known is not None and known.size == 1:
        taken = "then_branch" if bool(known.reshape(())) else "else_branch"
    else:
        forced = _find_forced_branch(node, context)
        if forced is None:
            return None
        taken = forced
    branch = node.attributes[taken].as_graph()
    inside = set(branch)
    results = list(branch.outputs)
    branch.outputs.clear()
    for name in list(branch.initializers):
        branch.initializers.pop(name)
    branch.remove(list(branch))
    replacements: dict[ir.Value, ir.Value] = {}
    for output, result in zip(node.outputs, results, strict=True):
        new_here = result.producer() in inside and result not in replacements.values()
        replacements[output] = op("Identity", [result]) if output.is_graph_output() and not new_here else result
    return replacements


def _find_forced_branch(node: ir.Node, context: MatchContext) -> str | None:
    for index, output in enumerate(node.outputs):
        ranks = find_accepted_ranks(output, context.integers)
        if ranks is None:
            continue
        for taken, other in (("then_branch", "else_branch"), ("else_branch", "then_branch")):
            impossible = find_possible_ranks(node.attributes[other].as_graph().outputs[index], context.integers)
            if impossible is not None and not impossible & ranks:
                return taken
    return None


RULE = Rule("known Ifs", ("If",), match)
