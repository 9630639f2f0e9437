"""Tensors that repeat one number, whatever their size: constants, and what exporters compute for the batch at hand.

PyTorch writes ``torch.zeros(layers, batch, hidden)[i]`` as a ConstantOfShape or an Expand and views of it.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import constant

#: How far a question is followed.
DEPTH = 12

#: Ops whose result holds elements of their first input and nothing else.
SELECT = frozenset(
    {
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


def filled(value: ir.Value | None, number: float, depth: int = DEPTH) -> bool:
    """Whether every element of ``value``, however many there are, is ``number``."""
    array = constant(value)
    if array is not None:
        return (
            array.dtype.kind in "fiu" and bool(array.size) and array.flat[0] == number and bool((array == number).all())
        )
    node = None if value is None else value.producer()
    if node is None or node.domain or not node.inputs or not depth:
        return False
    if node.op_type == "ConstantOfShape":
        fill = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else 0.0
        return bool(fill == number)
    if node.op_type == "Concat":
        return all(filled(part, number, depth - 1) for part in node.inputs)
    return node.op_type in SELECT and filled(node.inputs[0], number, depth - 1)
