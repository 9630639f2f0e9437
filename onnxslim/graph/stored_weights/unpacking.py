"""Weights taken out of fewer bits, in memory, and put back.

Every way to prune and quantize looks for float initializers. So what layers read behind a Cast of half floats or a
DequantizeLinear of integers is computed before a step looks, and stored as it was afterwards: the very codes where nothing
changed, codes of the same kind where a step made other weights of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.quantized import quantizes_activations
from onnxslim.graph.stored_weights.expanded import ExpandedCodes, match_expanded
from onnxslim.graph.stored_weights.grids import ScaleLayout, dequantize, quantize_symmetric
from onnxslim.graph.traversal import walk

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
#: Fewer half floats than this save less than the Cast that widens them takes.
_MIN_HALF_ELEMENTS = 32
#: By type of codes: the largest of a symmetric grid, and the code of zero.
_SYMMETRIC_CODES = {
    ir.DataType.INT8: (127, 0),
    ir.DataType.UINT8: (127, 128),
    ir.DataType.INT4: (7, 0),
    ir.DataType.UINT4: (7, 8),
}


@dataclass(frozen=True)
class StoredWeight:
    """How a weight was stored.

    Attributes:
        node: The Cast or DequantizeLinear that widened it, no longer in a graph.
        output: The name of what that made.
        tensors: What it read: half floats; or codes, scale and perhaps zero point.
    """

    node: ir.Node
    output: str
    tensors: tuple[ir.TensorProtocol, ...]

    @cached_property
    def array(self) -> np.ndarray:
        """What was stored, as it is computed with."""
        if self.node.op_type == "Cast":
            return self.tensors[0].numpy().astype(np.float32)
        codes, scale, *zero_point = (tensor.numpy() for tensor in self.tensors)
        return dequantize(codes, scale, next(iter(zero_point), None), self._layout)

    @property
    def _layout(self) -> ScaleLayout:
        if self.tensors[1].size == 1 and self.node.attributes.get_int("block_size", 0) == 0:
            return ScaleLayout()
        return ScaleLayout(self.node.attributes.get_int("axis", 1), self.node.attributes.get_int("block_size", 0) or None)

    def encode(self, array: np.ndarray) -> tuple[ir.TensorProtocol, ...] | None:
        """``array``, which a step made of this weight, stored the same way; None where it cannot be.

        The very tensors where nothing changed. Else so many bits, and a scale for all, for each channel or for each block,
        as before; symmetric, and on the grid that the weights lie on already where there is one.
        """
        if np.array_equal(array, self.array):
            return self.tensors
        kind = self.tensors[0].dtype
        if self.node.op_type == "Cast":
            half = array.astype(kind.numpy())
            return (ir.tensor(half, kind),) if np.isfinite(half.astype(np.float32)).all() else None
        if kind not in _SYMMETRIC_CODES or not array.size or not np.isfinite(array).all():
            return None
        limit, zero = _SYMMETRIC_CODES[kind]
        codes, scales = quantize_symmetric(array, limit, self._layout, self.tensors[1].dtype.numpy())
        if self.tensors[1].size == 1 and scales.size == 1:
            scales = scales.reshape(self.tensors[1].shape.numpy())
        parts = [(codes + zero, kind), (scales, self.tensors[1].dtype)]
        if zero or len(self.tensors) > len(parts):
            parts.append((np.full(scales.shape, zero), kind))
        return tuple(ir.tensor(part.astype(dtype.numpy()), dtype) for part, dtype in parts)

    def write(self, editor: GraphEditor, tensors: tuple[ir.TensorProtocol, ...], value: ir.Value) -> ir.Value:
        """The node again, reading ``tensors``, in front of all others, instead of ``value``."""
        names = [tensor.name for tensor in self.tensors] + [f"{self.output}_zero_point"]
        inputs = [
            editor.add_initializer(str(stem or self.output), tensor.numpy(), tensor.dtype)
            for stem, tensor in zip(names, tensors, strict=False)
        ]
        return editor.add_node(
            self.node.op_type, *inputs, name=self.node.name or f"{self.output}_{self.node.op_type}", output=self.output,
            before=editor.graph[0], attributes=dict(self.node.attributes), domain=self.node.domain, dtype=value.dtype,
            shape=value.shape,
        )  # fmt: skip


def unpack_weights(model: ir.Model, *, expanded: bool = False) -> dict[str, StoredWeight | ExpandedCodes]:
    """Make float initializers of what Casts and DequantizeLinear make of constants, in place; how each was stored, by name.

    A model whose activations are quantized as well keeps all: there the runtime computes with the codes.

    Args:
        model: It is changed.
        expanded: What a Cast and a Mul make of codes too (:mod:`.expanded`), of which channels can be cut as it is.
    """
    editor, stored = GraphEditor(model.graph), dict[str, StoredWeight | ExpandedCodes]()
    if quantizes_activations(model):
        return stored
    for node in list(walk(model.graph)):
        if expanded and (weight := match_expanded(node)) is not None:
            last = weight.nodes[-1].outputs[0]
            wide = editor.add_initializer(f"{last.name}_float", weight.array)
            editor.replace_value(last, wide, is_new=False)
            editor.remove_unread([weight.nodes[-1]])
            stored[str(wide.name)] = weight
            continue
        output = node.outputs[0]
        tensors = tuple(filter(None, map(get_const_tensor, node.inputs)))
        if len(tensors) != len(node.inputs) or output.is_graph_output() or not _is_widening(node, tensors):
            continue
        entry = StoredWeight(node, str(output.name), tensors)
        wide = editor.add_initializer(f"{output.name}_float", entry.array)
        editor.replace_value(output, wide, is_new=False)
        editor.remove_unread([node])
        stored[str(wide.name)] = entry
    return stored


def pack_weights(model: ir.Model, stored: Mapping[str, StoredWeight | ExpandedCodes], *, changed: bool = False) -> int:
    """Store those of ``stored`` that are still float initializers as they were, in place; how many.

    Args:
        model: What a step made of the model that :func:`unpack_weights` read.
        stored: What that gave.
        changed: Those too that the step changed, in codes of the same kind; others are left in float.
    """
    editor, count = GraphEditor(model.graph), 0
    for name, entry in stored.items():
        value = model.graph.initializers.get(name)
        wide = None if value is None else value.const_value
        if value is None or wide is None or not value.uses() or value.is_graph_output():
            continue
        array = wide.numpy()
        if array.dtype != entry.array.dtype or not (changed or np.array_equal(array, entry.array)):
            continue
        tensors = entry.encode(array)
        if tensors is None:
            continue
        narrow = entry.write(editor, tensors, value)
        editor.replace_value(value, narrow, is_new=False)
        editor.remove_unread([value])
        count += 1
    return count


def _is_widening(node: ir.Node, tensors: Sequence[ir.TensorProtocol]) -> bool:
    """Whether ``node``, which reads ``tensors``, makes wider floats of what is stored."""
    if node.op_type == "Cast" and not node.domain and tensors:
        is_float = node.attributes.get_int("to", 0) == ir.DataType.FLOAT
        return is_float and tensors[0].dtype in _HALVES and tensors[0].size >= _MIN_HALF_ELEMENTS
    return node.op_type == "DequantizeLinear" and node.domain in ("", "com.microsoft") and len(tensors) >= 2
