"""LSTM, GRU, RNN(x, …, initial states of zeros) → without them: what is omitted is zero.

PyTorch's exporters compute one tensor of zeros for the batch at hand, and slice it for each layer.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.constant_fill import is_filled_with
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op

#: Where ``initial_h`` and, of LSTM, ``initial_c`` are among the inputs.
STATE_INPUTS = (5, 6)


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The recurrent layer; either state alone will do."""
    zero_states = [at for at, value in enumerate(node.inputs) if at in STATE_INPUTS and is_filled_with(value, 0)]
    if not zero_states:
        return None
    inputs = [None if at in zero_states else value for at, value in enumerate(node.inputs)]
    while inputs[-1] is None:
        inputs.pop()
    first = op(node.op_type, inputs, node.attributes, outputs=len(node.outputs), name=node.name)
    layer = first.producer()
    assert layer is not None
    replacements = dict(zip(node.outputs, layer.outputs, strict=True))
    for omitted in [output for output in node.outputs if not output.name]:
        replacements.pop(omitted).name = ""
    return replacements


RULE = Rule("initial states", ("LSTM", "GRU", "RNN"), match)
