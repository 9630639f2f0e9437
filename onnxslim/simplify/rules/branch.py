"""If(c, then, else) → the branch it takes, in place, when c is known, or when what reads the result accepts the rank of
one branch only (see :mod:`onnxslim.simplify.ranks`).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.simplify.ranks import accepted, makes
from onnxslim.simplify.rule import Found, Rule, Scene, op


def match(node: ir.Node, scene: Scene) -> Found:
    """The nodes of the branch are taken out of it here, so what is returned must always be accepted."""
    known = constant(node.inputs[0])
    if known is not None and known.size == 1:
        taken = "then_branch" if bool(known.reshape(())) else "else_branch"
    else:
        forced = _forced(node, scene)
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
    found: dict[ir.Value, ir.Value] = {}
    for output, result in zip(node.outputs, results, strict=True):
        new_here = result.producer() in inside and result not in found.values()
        found[output] = op("Identity", [result]) if output.is_graph_output() and not new_here else result
    return found


def _forced(node: ir.Node, scene: Scene) -> str | None:
    for index, output in enumerate(node.outputs):
        ranks = accepted(output, scene.integers)
        if ranks is None:
            continue
        for taken, other in (("then_branch", "else_branch"), ("else_branch", "then_branch")):
            impossible = makes(node.attributes[other].as_graph().outputs[index], scene.integers)
            if impossible is not None and not impossible & ranks:
                return taken
    return None


RULE = Rule("known Ifs", ("If",), match)
