"""float16 made float32 again: every tensor, input and output, so that a runtime without float16 kernels runs the model."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.traversal import iter_values

#: Attributes that name an element type.
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")


def widen(model: ir.Model) -> int:
    """Turn every float16 of ``model`` into float32, in place, bodies and functions included; how often one stood there."""
    graphs = [*model.graphs(), *(inner for f in model.functions.values() for inner in (f.graph, *f.graph.subgraphs()))]
    changed = 0
    for graph in graphs:
        for value in graph.initializers.values():
            if value.const_value is not None and value.const_value.dtype is ir.DataType.FLOAT16:
                value.const_value = _widen_tensor(value.const_value)
        for node in graph:
            for attribute in list(node.attributes.values()):
                if (widened := _widen_attribute(attribute)) is not None:
                    node.attributes.add(widened)
                    changed += 1
        for value in dict.fromkeys(iter_values(graph)):
            if value.dtype is ir.DataType.FLOAT16:
                value.type = _widen_type(value.type)
                changed += 1
    return changed


def _widen_type(kind: ir.TypeProtocol | None) -> ir.TypeProtocol:
    """The type of a float16 tensor, or of a sequence or optional of such, in float32."""
    if isinstance(kind, (ir.SequenceType, ir.OptionalType)):
        return type(kind)(_widen_type(kind.elem_type))
    return ir.TensorType(ir.DataType.FLOAT)


def _widen_tensor(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _widen_attribute(attribute: ir.Attr) -> ir.Attr | None:
    """``attribute`` in float32, or None where it says nothing of float16."""
    if attribute.is_ref():
        return None
    if attribute.type is ir.AttributeType.TENSOR and attribute.value.dtype is ir.DataType.FLOAT16:
        return ir.AttrTensor(attribute.name, _widen_tensor(attribute.value))
    is_dtype = attribute.type is ir.AttributeType.INT and attribute.name in _DTYPE_ATTRIBUTES
    if is_dtype and attribute.value == ir.DataType.FLOAT16:
        return ir.AttrInt64(attribute.name, int(ir.DataType.FLOAT))
    return None
