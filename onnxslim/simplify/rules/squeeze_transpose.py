"""Squeeze(Transpose(view(x))) → Transpose(Reshape(x)): an axis of size 1 that was carried along is never made.

PyTorch's attention moves its three projections apart with ``unsqueeze(0).transpose(0, -2).squeeze(-2)``.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplify.arithmetic import axes, extent
from onnxslim.simplify.rule import Found, Rule, Scene, const, op, producer, sole
from onnxslim.simplify.rules.transpose import permutation
from onnxslim.simplify.rules.view import spelled


def match(node: ir.Node, scene: Scene) -> Found:
    """The Squeeze; its axes are an attribute up to opset 12."""
    moved = node.inputs[0]
    transpose = producer(moved, "Transpose")
    viewed = None if transpose is None else transpose.inputs[0]
    view = producer(viewed, "Reshape", "Unsqueeze")
    dims = extent(viewed)
    perm = None if transpose is None else permutation(transpose)
    if moved is None or viewed is None or view is None or dims is None or perm is None:
        return None
    over = axes(node, scene.integers, len(dims))
    if over is None:
        return None
    gone = {perm[axis] for axis in over}
    if any(dims[axis] != 1 for axis in gone):
        return "a dimension that it drops is not known to be 1"
    if not (sole(moved) and sole(viewed)):
        return "what it squeezes is read elsewhere"
    left = [axis for axis in range(len(dims)) if axis not in gone]
    target = spelled([dims[axis] for axis in left], extent(view.inputs[0]))
    if target is None:
        return "two of the dimensions are only known at run time"
    flat = op("Reshape", [view.inputs[0], const(target, viewed)])
    return {node.outputs[0]: op("Transpose", [flat], {"perm": [left.index(axis) for axis in perm if axis in left]})}


RULE = Rule("squeezed transposes", ("Squeeze",), match)
