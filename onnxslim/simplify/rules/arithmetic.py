"""Shape arithmetic that is wholly known → the constant: Gather(Shape(x), 1) → 3 for x of (batch, 3, h, w)."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplify.ops import OPS, decided
from onnxslim.simplify.rule import Found, Rule, Scene, const


def match(node: ir.Node, scene: Scene) -> Found:
    """Every output that is read must be known."""
    found: dict[ir.Value, ir.Value] = {}
    for output in node.outputs:
        array = scene.integers.get(output)
        if array is None or not decided(array) or output.dtype is None:
            return None
        found[output] = const(array.astype(output.dtype.numpy()), output)
    return found


RULE = Rule("shape arithmetic", ("Shape", "Size", *OPS), match)
