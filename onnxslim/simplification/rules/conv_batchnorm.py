"""BatchNormalization(Conv(x, W, b)) → Conv(x, g·W, g·(b − μ) + β) with g = γ / √(σ² + ε), per output channel.

The same for ConvTranspose, whose output channels are axis 1 of W (within each group), and for Gemm.
Computed in float64, so that the rounding is that of the stored weights only.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.affine_folding import fold_affine
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule
from onnxslim.simplification.speed.claim import SpeedClaim


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """An inference-mode BatchNormalization with constant statistics."""
    if node.attributes.get_int("training_mode", 0) or any(out.name for out in node.outputs[1:]):
        return "it runs in training mode"
    arrays = [get_const_array(value) for value in node.inputs[1:5]]
    if len(arrays) != 4 or any(array is None for array in arrays):
        return "its statistics are not constants"
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    gain = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return fold_affine(node, node.inputs[0], gain, beta - mean * gain, like=node.inputs[2])


_CLAIMS = (
    SpeedClaim(
        "two convolutions of one weight, each with its own BatchNormalization",
        """(float[1,64,14,14] x) => (float[1,64,14,14] y) {
            a = Conv <pads = [1,1,1,1]> (x, w) b = BatchNormalization (a, g, h, h, v) c = Relu (b)
            d = Conv <pads = [1,1,1,1]> (c, w) y = BatchNormalization (d, h, g, g, v) }""",
        gains=True,
        constants={"w": (64, 64, 3, 3), "g": (64,), "h": (64,), "v": (64,)},
    ),
)
RULE = Rule("conv+batchnorm", ("BatchNormalization",), match, rounds=True, claims=_CLAIMS)
