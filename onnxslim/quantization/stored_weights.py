"""Weights that are stored in 16 bits and cast to float32 where they are read.

Every scheme looks for float32 weights. So the Casts of what layers read are folded, in memory, before a scheme looks, and
what it left in float32 is stored as it was afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import walk
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def fold_weight_casts(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Make float32 initializers of what Casts make of constants in 16 bits, in place; those constants by the new names."""
    editor, stored = GraphEditor(model.graph), dict[str, ir.TensorProtocol]()
    for node in list(walk(model.graph)):
        if node.op_type != "Cast" or node.domain or node.attributes.get_int("to", 0) != ir.DataType.FLOAT:
            continue
        tensor, output = get_const_tensor(node.inputs[0]), node.outputs[0]
        if tensor is None or tensor.dtype not in _HALVES or tensor.size < MIN_WEIGHT_ELEMENTS or output.is_graph_output():
            continue
        wide = editor.add_initializer(f"{output.name}_float32", tensor.numpy().astype(np.float32))
        editor.replace_value(output, wide, is_new=False)
        editor.remove_unread([node])
        stored[str(wide.name)] = tensor
    return stored


def restore_weight_casts(model: ir.Model, stored: Mapping[str, ir.TensorProtocol]) -> None:
    """Store those of ``stored`` that are still float32 initializers, and unchanged, in 16 bits behind a Cast, in place."""
    editor = GraphEditor(model.graph)
    for name, tensor in stored.items():
        value = model.graph.initializers.get(name)
        wide = None if value is None else value.const_value
        if value is None or wide is None or not value.uses() or value.is_graph_output():
            continue
        if wide.dtype != ir.DataType.FLOAT or not np.array_equal(wide.numpy(), tensor.numpy().astype(np.float32)):
            continue
        half = editor.add_initializer(str(tensor.name or name), tensor.numpy(), tensor.dtype)
        cast = editor.add_cast(half, ir.DataType.FLOAT, before=model.graph[0], name=f"{name}_Cast")
        editor.replace_value(value, cast, is_new=False)
        editor.remove_unread([value])
