"""Shape(x) → the dimensions of x, Size(x) → their product, when inference knows them."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.simplify.rule import Found, Rule, Scene, const


def match(node: ir.Node, scene: Scene) -> Found:
    """``Shape`` (with its ``start`` and ``end`` since opset 15) or ``Size``."""
    dims = shapes.static(node.inputs[0])
    if dims is None:
        return None
    if node.op_type == "Size":
        array = np.asarray(math.prod(dims), np.int64)
    else:
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(dims))
        array = np.asarray(dims[start:end], np.int64)
    return {node.outputs[0]: const(array, node.outputs[0])}


RULE = Rule("shapes", ("Shape", "Size"), match)
