"""LSTM, GRU, RNN(x, …, initial states of zeros) → without them: what is omitted is zero.

PyTorch's exporters compute a tensor of zeros for the batch at hand.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.simplify.rule import Found, Rule, Scene, op, producer

#: Where ``initial_h`` and, of LSTM, ``initial_c`` are among the inputs.
STATES = (5, 6)


def match(node: ir.Node, scene: Scene) -> Found:
    """The recurrent layer; either state alone will do."""
    idle = [at for at, value in enumerate(node.inputs) if at in STATES and value is not None and _zeros(value)]
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


def _zeros(value: ir.Value) -> bool:
    array = constant(value)
    if array is not None:
        return not array.any()
    maker = producer(value, "ConstantOfShape", "Expand")
    if maker is None:
        return False
    if maker.op_type == "Expand":
        filling = constant(maker.inputs[0])
        return filling is not None and not filling.any()
    return "value" not in maker.attributes or not maker.attributes["value"].as_tensor().numpy().any()


RULE = Rule("initial states", ("LSTM", "GRU", "RNN"), match)
