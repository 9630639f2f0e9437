"""Weights in integers that are made floats by a Cast, a Mul and perhaps a Reshape, which runtimes compute at load."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.editor import GraphEditor

_CODE_TYPES = (ir.DataType.INT8, ir.DataType.UINT8)


@dataclass(frozen=True)
class ExpandedCodes:
    """A weight that nodes expand.

    Attributes:
        nodes: Cast and Mul, and the Reshape where there is one; no longer in a graph.
        tensors: Codes and scales, and the shape where there is one.
    """

    nodes: tuple[ir.Node, ...]
    tensors: tuple[ir.TensorProtocol, ...]

    @cached_property
    def array(self) -> np.ndarray:
        """What was stored, float32, as it is computed with."""
        codes, scales, *shape = (tensor.numpy() for tensor in self.tensors)
        product: np.ndarray = codes.astype(np.float32) * scales
        return product.reshape(shape[0].tolist()) if shape else product

    def encode(self, array: np.ndarray) -> tuple[ir.TensorProtocol, ...] | None:
        """The very tensors for the very ``array``; other weights are nothing that these scales were chosen for."""
        return self.tensors if np.array_equal(array, self.array) else None

    def write(self, editor: GraphEditor, tensors: tuple[ir.TensorProtocol, ...], value: ir.Value) -> ir.Value:
        """The nodes again, in front of all others, instead of ``value``."""
        first = editor.graph[0]
        values = [editor.add_initializer(str(tensor.name), tensor.numpy(), tensor.dtype) for tensor in tensors]
        last = values[0]
        for index, node in enumerate(self.nodes):
            inputs = (last, *values[index : index + 1]) if index else (last,)
            last = editor.add_node(
                node.op_type, *inputs, name=node.name or node.op_type, output=str(node.outputs[0].name), before=first,
                attributes=dict(node.attributes), dtype=ir.DataType.FLOAT, shape=value.shape if index else values[0].shape,
            )  # fmt: skip
        return last


def match_expanded(node: ir.Node) -> ExpandedCodes | None:
    """The weight that ``node``, a Mul, expands, the Reshape behind it included; None where it is another Mul."""
    if node.op_type != "Mul" or node.domain or len(node.inputs) != 2 or node.inputs[0] is None:
        return None
    cast, scales = node.inputs[0].producer(), get_const_tensor(node.inputs[1])
    if cast is None or cast.op_type != "Cast" or cast.domain or cast.attributes.get_int("to", 0) != ir.DataType.FLOAT:
        return None
    codes = get_const_tensor(cast.inputs[0])
    if codes is None or scales is None or codes.dtype not in _CODE_TYPES or scales.dtype != ir.DataType.FLOAT:
        return None
    if len(cast.outputs[0].uses()) != 1 or node.outputs[0].is_graph_output():
        return None
    readers = [use.node for use in node.outputs[0].uses()]
    shape = get_const_tensor(readers[0].inputs[1]) if len(readers) == 1 and readers[0].op_type == "Reshape" else None
    if shape is not None and (shape.numpy() > 0).all() and not readers[0].outputs[0].is_graph_output():
        return ExpandedCodes((cast, node, readers[0]), (codes, scales, shape))
    return ExpandedCodes((cast, node), (codes, scales))
