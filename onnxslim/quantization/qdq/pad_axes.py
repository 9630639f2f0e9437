"""Pads that name their axes, written out for all of them.

onnxruntime lays a Pad between int8 convolutions out anew (channels last) and permutes its amounts as if they were those of
every axis: one that names two of four (opset 18) fails when the model is run.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import walk


def write_out_pad_axes(model: ir.Model) -> int:
    """Give each Pad whose amounts and axes are constant the amounts of every axis, in place; returns how many."""
    editor, count = GraphEditor(model.graph), 0
    for node in walk(model.graph):
        if node.op_type != "Pad" or node.domain or len(node.inputs) < 4 or node.inputs[3] is None:
            continue
        amounts, axes, dims = (
            get_const_array(node.inputs[1]),
            get_const_array(node.inputs[3]),
            shapes.get_dims(node.inputs[0]),
        )
        if amounts is None or axes is None or dims is None:
            continue
        rank, named = len(dims), [int(axis) % len(dims) for axis in axes.flat]
        full = np.zeros(2 * rank, np.int64)
        full[[*named, *(rank + axis for axis in named)]] = amounts
        unread = node.inputs[3]
        editor.set_constant(node, 1, full, f"{node.name}_pads")
        node.resize_inputs(3)
        if not unread.uses() and unread.is_initializer():
            editor.remove_unread([unread])
        count += 1
    return count
