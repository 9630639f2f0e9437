"""Tensors that repeat one number, whatever their size: constants, and what exporters compute for the batch at hand.

PyTorch writes ``torch.zeros(layers, batch, hidden)[i]`` as a ConstantOfShape or an Expand and views of it.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array

#: At most this many producers are followed, one behind the other.
MAX_DEPTH = 12

#: Ops whose result holds elements of their first input and nothing else.
SELECTION_OPS = frozenset(
    {"Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)


def is_filled_with(value: ir.Value | None, number: float, depth: int = MAX_DEPTH) -> bool:
    """Whether every element of ``value``, however many there are, is ``number``."""
    array = get_const_array(value)
    if array is not None:
        return array.dtype.kind in "fiu" and bool(array.size) and array.flat[0] == number and bool((array == number).all())
    node = None if value is None else value.producer()
    if node is None or node.domain or not node.inputs or not depth:
        return False
    if node.op_type == "ConstantOfShape":
        fill = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else 0.0
        return bool(fill == number)
    if node.op_type == "Concat":
        return all(is_filled_with(part, number, depth - 1) for part in node.inputs)
    return node.op_type in SELECTION_OPS and is_filled_with(node.inputs[0], number, depth - 1)
