"""Squeeze(Split(x)[i], axis) → Gather(x, i, axis), when every part has length 1 and only loses that axis again.

So PyTorch's TorchScript exporter writes ``unbind``, and with it every packed projection of queries, keys and values.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, op
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes, symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Split: all that reads it goes with it."""
    source = node.inputs[0]
    dims = symbolic_dims(source)
    if source is None or dims is None or len(node.outputs) < 2:
        return None
    axis = node.attributes.get_int("axis", 0) % len(dims)
    part_dims = [symbolic_dims(part) for part in node.outputs]
    if dims[axis] != len(node.outputs) or any(sizes is None or sizes[axis] != 1 for sizes in part_dims):
        return None
    replacements: dict[ir.Value, ir.Value] = {}
    for index, part in enumerate(node.outputs):
        if part.is_graph_output():
            return "a part is an output of the graph"
        for reader in dict.fromkeys(part.consumers()):
            if reader.op_type != "Squeeze" or reader.domain or reader.graph is not node.graph:
                return "a part is read as it is"
            if resolve_axes(reader, context.integers, len(dims)) != [axis]:
                return "a part loses another axis"
            replacements[reader.outputs[0]] = op("Gather", [source, const(np.asarray(index))], {"axis": axis})
    return replacements or None


_CLAIMS = (
    SpeedClaim(
        "three packed projections",
        """(float[1,128,3,256] x) => (float[1,128,256] y) {
            r = Relu (x) a, b, c = Split <axis = 2, num_outputs = 3> (r)
            d = Squeeze (a, two) e = Squeeze (b, two) f = Squeeze (c, two) g = Add (d, e) y = Add (g, f) }""",
        gains=True,
        constants={"two": [2]},
    ),
)
RULE = Rule("unbound", ("Split",), match, claims=_CLAIMS)
