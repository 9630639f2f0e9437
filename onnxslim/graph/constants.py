"""What a value is worth when it never changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir


def get_const_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind ``value`` when it is a constant: an initializer no caller can override, or a Constant node.

    An initializer that is also a graph input (IR version 3's way) may be replaced at run time, so it is not one.
    """
    if value is None:
        return None
    producer = value.producer()
    if producer is None:
        return None if value.is_graph_input() else value.const_value
    if producer.op_type != "Constant" or producer.domain:
        return None
    return _of_constant_node(producer)


def get_const_array(value: ir.Value | None) -> np.ndarray | None:
    """The numbers behind ``value`` (see :func:`get_const_tensor`), or None: also for texts, which nothing computes with.

    Read-only by convention: it may map the file.
    """
    tensor = get_const_tensor(value)
    return None if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.numpy()


def is_made_of_constants(value: ir.Value | None) -> bool:
    """Whether ``value`` is a constant, or nodes make it of constants alone."""
    stack = [] if value is None else [value]
    seen = set(stack)
    while stack:  # chains may be longer than calls may be deep
        current = stack.pop()
        if get_const_tensor(current) is not None:
            continue
        producer = current.producer()
        if producer is None or not producer.inputs:
            return False
        unseen = [read for read in dict.fromkeys(producer.inputs) if read is not None and read not in seen]
        seen.update(unseen)
        stack.extend(unseen)
    return value is not None


def iter_initializers(model: ir.Model) -> Iterator[tuple[ir.Graph, str, ir.Value]]:
    """Every initializer of the main graph and of all subgraphs, as (graph, name, value)."""
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            yield graph, name, value


def _of_constant_node(node: ir.Node) -> ir.TensorProtocol | None:
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value" and attribute.type == ir.AttributeType.TENSOR:
            tensor: ir.TensorProtocol = attribute.value  # ``as_tensor`` looks whether it is one, which takes long
            return tensor
        if name == "value_float":
            return ir.tensor(np.float32(attribute.as_float()))
        if name == "value_floats":
            return ir.tensor(np.asarray(attribute.as_floats(), np.float32))
        if name == "value_int":
            return ir.tensor(np.int64(attribute.as_int()))
        if name == "value_ints":
            return ir.tensor(np.asarray(attribute.as_ints(), np.int64))
    return None
