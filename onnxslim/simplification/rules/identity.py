"""Identity(x) → x; Dropout(x) outside training → x."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """Dropout's mask must be unread, and its ``training_mode`` (an input since opset 12) absent or false."""
    source = node.inputs[0]
    if source is None:
        return None
    if node.op_type == "Dropout":
        if any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
            return "its mask is read"
        training = node.inputs[2] if len(node.inputs) > 2 else None
        if training is not None:
            known = get_const_array(training)
            if known is None or bool(known):
                return "it may run in training mode"
    return {node.outputs[0]: source}


RULE = Rule("identities", ("Identity", "Dropout"), match)
