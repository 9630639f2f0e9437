"""LSTM, GRU, RNN(x, …, initial states of zeros) → without them: what is omitted is zero.

PyTorch's exporters compute one tensor of zeros for the batch at hand, and slice it for each layer.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplify.filled import filled
from onnxslim.simplify.rule import Found, Rule, Scene, op

#: Where ``initial_h`` and, of LSTM, ``initial_c`` are among the inputs.
STATES = (5, 6)


def match(node: ir.Node, scene: Scene) -> Found:
    """The recurrent layer; either state alone will do."""
    idle = [at for at, value in enumerate(node.inputs) if at in STATES and filled(value, 0)]
    if not idle:
        return None
    inputs = [None if at in idle else value for at, value in enumerate(node.inputs)]
    while inputs[-1] is None:
        inputs.pop()
    first = op(node.op_type, inputs, node.attributes, outputs=len(node.outputs), name=node.name)
    layer = first.producer()
    assert layer is not None
    for old, new in zip(node.outputs, layer.outputs, strict=True):
        if not old.name:
            new.name = ""  # omitted before, omitted now
    return {old: new for old, new in zip(node.outputs, layer.outputs, strict=True) if old.name}


RULE = Rule("initial states", ("LSTM", "GRU", "RNN"), match)
