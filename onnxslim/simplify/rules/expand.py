"""Expand(x, s) → x when s asks for nothing that x has not: every entry is 1 or x's own dimension."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplify.arithmetic import extent, lookup
from onnxslim.simplify.rule import Found, Rule, Scene
from onnxslim.simplify.symbols import equal


def match(node: ir.Node, scene: Scene) -> Found:
    """``s`` is aligned at the right, as broadcasting is."""
    source = node.inputs[0]
    dims, wanted = extent(source), lookup(node.inputs[1], scene.integers)
    if source is None or dims is None or wanted is None or len(wanted) > len(dims):
        return None
    pairs = zip(wanted, dims[len(dims) - len(wanted) :], strict=True)
    if all(entry == 1 or equal(entry, dim) for entry, dim in pairs):
        return {node.outputs[0]: source}
    return None


RULE = Rule("expansions", ("Expand",), match)
