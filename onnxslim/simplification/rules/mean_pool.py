"""ReduceMean(x) over all spatial axes, kept with size 1 → GlobalAveragePool(x), which runtimes quantise and tune.

Of images behind a convolution, whose layout it reads as it is; of volumes and elsewhere the plain mean is the faster kernel
(0.75 to 0.95 times).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.speed.layout import is_behind_convolution
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes, symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """Axes are an attribute up to opset 17 and an input since."""
    dims = symbolic_dims(node.inputs[0])
    if dims is None or len(dims) not in (4, 5) or node.inputs[0] is None:
        return None
    over = resolve_axes(node, context.integers, len(dims))
    if over is None or sorted(over) != list(range(2, len(dims))):
        return None
    if not node.attributes.get_int("keepdims", 1):
        return "it drops the spatial axes: a Reshape would have to follow"
    if node.inputs[0].dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return "runtimes have a GlobalAveragePool for float32 and float16 only"
    if context.weighs_speed and (len(dims) != 4 or not is_behind_convolution(node.inputs[0])):
        return "slower: the runtime's pool is made for images that a convolution writes"
    return {node.outputs[0]: op("GlobalAveragePool", [node.inputs[0]])}


_CLAIMS = (
    SpeedClaim(
        "the mean of a 28x28 image behind a Conv",
        "(float[1,64,28,28] x) => (float[1,64,1,1] y) { a = Conv (x, v) b = Relu (a) y = ReduceMean (b, axes) }",
        gains=True,
        constants={"v": (64, 64, 1, 1), "axes": [2, 3]},
    ),
    SpeedClaim(
        "the mean of a 56x56 image that no Conv makes",
        "(float[1,64,56,56] x) => (float[1,64,1,1] y) { a = Relu (x) y = ReduceMean (a, axes) }",
        gains=False,
        constants={"axes": [2, 3]},
    ),
    SpeedClaim(
        "the mean of a volume of 16x16x16 behind a Conv",
        """(float[1,16,16,16,16] x) => (float[1,16,1,1,1] y) {
            a = Conv (x, v) b = Relu (a) y = ReduceMean (b, axes) }""",
        gains=False,
        constants={"v": (16, 16, 1, 1, 1), "axes": [2, 3, 4]},
    ),
)
RULE = Rule("global pools", ("ReduceMean",), match, rounds=True, claims=_CLAIMS)
