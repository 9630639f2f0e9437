"""PRelu(x, s) → LeakyRelu(x) with alpha = s, where all slopes are one number.

A convolution's kernel computes a LeakyRelu with it, and int8 has one too; a PRelu is a node of its own.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op
from onnxslim.simplification.speed.claim import SpeedClaim


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """PyTorch shares one slope among all channels unless it is told otherwise."""
    source, slopes = node.inputs[0], get_const_array(node.inputs[1])
    if source is None or slopes is None or not slopes.size or slopes.dtype != np.float32:
        return None
    if np.any(slopes != slopes.flat[0]):
        return None
    dims = shapes.get_dims(source) or ()
    pairs = zip(reversed(slopes.shape), reversed(dims), strict=False)
    if slopes.ndim > len(dims) or any(size not in (1, dim) for size, dim in pairs):
        return "its slopes have axes that what it reads may not have, and the runtime broadcasts both"
    return {node.outputs[0]: op("LeakyRelu", [source], {"alpha": float(slopes.flat[0])})}


_CLAIMS = (
    SpeedClaim(
        "one slope for 28x28 images behind a Conv",
        "(float[1,64,28,28] x) => (float[1,64,28,28] y) { a = Conv (x, v) y = PRelu (a, s) }",
        gains=True,
        constants={"v": (64, 64, 1, 1), "s": 0.25},
    ),
)
RULE = Rule("single slopes", ("PRelu",), match, claims=_CLAIMS)
