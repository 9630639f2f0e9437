"""BatchNormalization(Conv(x, W, b)) → Conv(x, g·W, g·(b − μ) + β) with g = γ / √(σ² + ε), per output channel.

The same for ConvTranspose, whose output channels are axis 1 of W (within each group), and for Gemm.
Computed in float64, so that the rounding is that of the stored weights only.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.simplify.rule import Found, Rule, Scene
from onnxslim.simplify.scale import affine


def match(node: ir.Node, scene: Scene) -> Found:
    """An inference-mode BatchNormalization with constant statistics."""
    if node.attributes.get_int("training_mode", 0) or any(out.name for out in node.outputs[1:]):
        return "it runs in training mode"
    arrays = [constant(value) for value in node.inputs[1:5]]
    if len(arrays) != 4 or any(array is None for array in arrays):
        return "its statistics are not constants"
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    gain = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return affine(node, node.inputs[0], gain, beta - mean * gain, like=node.inputs[2])


RULE = Rule("conv+batchnorm", ("BatchNormalization",), match, rounds=True)
