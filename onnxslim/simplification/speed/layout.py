"""Whether a tensor comes in the layout that the runtime's convolutions write (NCHWc, blocks of channels)."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import producer

#: Ops that write blocks of channels, and those that pass them on.
_BLOCKED_OPS = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_PASSING_OPS = (
    *("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Add", "Mul", "Sum"),
    *("BatchNormalization", "Concat", "Identity"),
)

#: Nodes that are looked at on the way: activations are a few nodes long.
_MAX_NODES = 32


def is_behind_convolution(value: ir.Value | None) -> bool:
    """Whether ``value`` is made by a convolution or a pool, or from one by ops that work channel by channel."""
    stack, seen = [value], set[ir.Node]()
    while stack and len(seen) < _MAX_NODES:
        source = stack.pop()
        if producer(source, *_BLOCKED_OPS) is not None:
            return True
        node = producer(source, *_PASSING_OPS)
        if node is not None and node not in seen:
            seen.add(node)
            stack += node.inputs
    return False
