"""PRelu(x, s) → s · x + (1 - s) · Relu(x), with a slope for each channel.

The runtime's PRelu decides value by value, which a processor cannot foresee: 2 to 4 ns each where signs change, 0.3 to 0.5
for these four nodes, which also stay in the blocks of channels that convolutions write. Of negative values the result has
the same bits, of others it is rounded once or twice.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, op
from onnxslim.simplification.speed.claim import SpeedClaim

#: Of fewer values three more nodes cost more than is saved.
_MIN_VALUES = 8192
#: A larger slope takes the last bits of positive values with it, and one that is no number all of them.
_MAX_SLOPE = 16


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """A free axis counts as long, the batch alone as one."""
    source, slopes, output = node.inputs[0], get_const_array(node.inputs[1]), node.outputs[0]
    if source is None or slopes is None or not slopes.size or slopes.dtype != np.float32:
        return None
    if not np.all(np.abs(slopes) <= _MAX_SLOPE):
        return f"its slopes are beyond {_MAX_SLOPE}: of positive values too little would be left in the sum"
    dims = shapes.get_dims(source)
    if dims is None:
        return "how many values it reads is not known"
    inner = [dim if isinstance(dim, int) else _MIN_VALUES for dim in dims[1:]]
    if context.weighs_speed and math.prod(inner) < _MIN_VALUES:
        return "slower: of few values four nodes take longer than one"
    scaled = op("Mul", [source, const(slopes, node.inputs[1])])
    positive = op("Mul", [op("Relu", [source]), const(np.asarray(1 - slopes, np.float32), output)])
    return {output: op("Add", [positive, scaled])}


_GRAPH = "(float[1,{c},{h},{h}] x) => (float[1,{c},{h},{h}] y) {{ a = Conv (x, v) y = PRelu (a, s) }}"
_CLAIMS = (
    SpeedClaim(
        "64 slopes for 28x28 images behind a Conv",
        _GRAPH.format(c=64, h=28),
        gains=True,
        constants={"v": (64, 64, 1, 1), "s": (64, 1, 1)},
    ),
    SpeedClaim(
        "32 slopes for 4x4 images behind a Conv",
        _GRAPH.format(c=32, h=4),
        gains=False,
        constants={"v": (32, 32, 1, 1), "s": (32, 1, 1)},
    ),
)
RULE = Rule("slopes", ("PRelu",), match, rounds=True, claims=_CLAIMS)
