"""Where a model keeps its tensors: initializers and attributes, of the main graph, functions and all subgraphs."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir


def iter_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """Every graph of ``model``: the main one, the bodies of its functions, and all subgraphs of both."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield from _iter_nested(graph)


def _iter_nested(graph: ir.Graph) -> Iterator[ir.Graph]:
    yield graph
    for node in graph:
        for attribute in node.attributes.values() if node.attributes else ():  # most nodes have none
            if attribute.is_ref():
                continue
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _iter_nested(attribute.value)
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.value:
                    yield from _iter_nested(inner)


def iter_initializers(model: ir.Model) -> Iterator[ir.Value]:
    """Every initializer, in the order of the graphs and in theirs."""
    for graph in iter_graphs(model):
        yield from graph.initializers.values()


def iter_tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor: the initializers that have a value, then the attributes; a shared one as often as it is used."""
    for value in iter_initializers(model):
        if value.const_value is not None:
            yield value.const_value
    for _, attribute in _iter_tensor_attributes(model):
        yield from get_attribute_tensors(attribute)


def nbytes(tensor: ir.TensorProtocol) -> int:
    """Bytes that the elements of ``tensor`` take in a file."""
    return sum(map(len, tensor.string_data())) if isinstance(tensor, ir.StringTensor) else tensor.nbytes


def read_bytes(tensor: ir.TensorProtocol) -> bytes | memoryview:
    """The bytes of ``tensor`` as ``raw_data`` has them; those of an array as they lie there, not copied."""
    array = tensor.raw if isinstance(tensor, ir.Tensor) else None
    if isinstance(array, np.ndarray) and tensor.dtype.bitwidth >= 8 and array.dtype.isnative and sys.byteorder == "little":
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return tensor.tobytes()


def wrap_data(data: np.ndarray, like: ir.TensorProtocol) -> ir.TensorProtocol:
    """A tensor with the type, shape, name and notes of ``like`` and the elements ``data``, bytes as in ``raw_data``."""
    shape, metadata = ir.Shape(like.shape.numpy()), get_metadata(like)
    if like.dtype.bitwidth < 8:
        return ir.PackedTensor(data, like.dtype, shape=shape, **metadata)
    array = data.view(like.dtype.numpy().newbyteorder("<")).reshape(shape.numpy())
    return ir.Tensor(array, like.dtype, shape=shape, **metadata)


def detach_from_proto(tensor: ir.TensorProtocol, _: str = "") -> ir.TensorProtocol:
    """``tensor`` itself, or a copy if it is part of a protobuf message: such a one copies its elements at every read."""
    if isinstance(tensor, ir.StringTensor):
        return ir.StringTensor(list(tensor.string_data()), shape=tensor.shape, **get_metadata(tensor))
    if not isinstance(tensor, ir.serde.TensorProtoTensor):
        return tensor
    if tensor.raw.HasField("raw_data"):
        return wrap_data(np.frombuffer(tensor.raw.raw_data, np.uint8), tensor)
    message = onnx.TensorProto()  # typed fields stay as they are: small integers are smaller there
    message.CopyFrom(tensor.raw)
    return ir.serde.TensorProtoTensor(message)


def make_alias(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Another tensor with the same elements, for one that may be renamed: a tensor in a message has its name there."""
    if not isinstance(tensor, ir.serde.TensorProtoTensor):
        return copy.copy(tensor)
    if not tensor.raw.HasField("raw_data"):
        return detach_from_proto(tensor)
    return with_name(tensor, tensor.name)


def with_name(tensor: ir.TensorProtocol, name: str | None) -> ir.TensorProtocol:
    """A tensor called ``name`` that asks ``tensor`` for its elements."""
    return ir.LazyTensor(
        lambda: tensor, tensor.dtype, ir.Shape(tensor.shape.numpy()), **{**get_metadata(tensor), "name": name}
    )


def get_metadata(tensor: ir.TensorProtocol) -> dict[str, Any]:
    """What a tensor says about itself: the keyword arguments that every tensor class takes."""
    metadata = {"name": tensor.name, "doc_string": tensor.doc_string, "metadata_props": dict(tensor.metadata_props)}
    return {key: value or None for key, value in metadata.items()}


def get_attribute_tensors(attribute: ir.Attr) -> Sequence[ir.TensorProtocol]:
    """The tensors of ``attribute``; none where it is of another type, or refers to an attribute of a function."""
    if attribute.is_ref() or attribute.type not in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS):
        return ()
    # not as_tensor(), which asks a runtime-checkable protocol with thirty members whether this is one
    return [attribute.value] if attribute.type == ir.AttributeType.TENSOR else list(attribute.value)


def replace_attribute_tensors(model: ir.Model, change: Callable[[ir.TensorProtocol, str], ir.TensorProtocol]) -> None:
    """Put ``change(tensor, label)`` in place of every tensor in an attribute; the label names the node."""
    for node, attribute in list(_iter_tensor_attributes(model)):
        label = f"node '{node.name}' ({node.op_type}), attribute '{attribute.name}'"
        old = get_attribute_tensors(attribute)
        new = [change(tensor, label) for tensor in old]
        if any(before is not after for before, after in zip(old, new, strict=True)):
            value = new[0] if attribute.type == ir.AttributeType.TENSOR else new
            node.attributes.add(ir.Attr(attribute.name, attribute.type, value, doc_string=attribute.doc_string))


def _iter_tensor_attributes(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Attr]]:
    for graph in iter_graphs(model):
        for node in graph:
            for attribute in node.attributes.values() if node.attributes else ():
                if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS) and not attribute.is_ref():
                    yield node, attribute
