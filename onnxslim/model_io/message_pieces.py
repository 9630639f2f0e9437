"""One protobuf message piece by piece: the same bytes as :func:`~onnxslim.model_io.serialization.to_bytes` gives, without a
copy of the weights in between.

A message is its fields one after the other in the order of their numbers, a nested one behind its length. So what stands
before a large tensor's elements, and behind them, is written without them, and they go between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
import onnx_ir as ir

from onnxslim.model_io import serialization, tensors
from onnxslim.model_io.external_data import data_reader

#: Bytes from which on a tensor is worth a piece of its own, and of all such from which on pieces are worth their trouble.
_MIN_TENSOR_BYTES, _MIN_TOTAL_BYTES = 1 << 16, 1 << 24
#: Numbers of the fields that hold a graph, its initializers, and a tensor's elements.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


def iter_bytes(model: ir.Model) -> Iterator[bytes | memoryview]:
    """The pieces of ``model`` as one ModelProto; it is not changed.

    Raises:
        LimitError: It is more than one message can hold.
        InvalidModelError: The graph is broken, or an initializer has no value.
    """
    large = _find_large(model)
    total = sum(tensor.nbytes for tensor in large.values())
    if not _MIN_TOTAL_BYTES <= total <= serialization.MAX_INLINE_BYTES:
        yield serialization.to_bytes(model)
        return
    serialization.check_inline_bytes(tensors.nbytes(tensor) for tensor in tensors.iter_tensors(model))
    locations = {id(tensor): (0, tensor.nbytes) for tensor in large.values()}
    message = onnx.ModelProto.FromString(serialization.to_bytes(model, locations, "apart"))
    graph_head, graph_tail = _split(message.graph, _INITIALIZER)
    sizes = [_measure(proto, large.get(proto.name)) for proto in message.graph.initializer]
    graph_bytes = len(graph_head) + len(graph_tail) + sum(1 + len(_varint(size)) + size for size in sizes)
    head, tail = _split(message, _GRAPH)
    yield head + _begin(_GRAPH, graph_bytes) + graph_head
    for proto, size in zip(message.graph.initializer, sizes, strict=True):
        yield _begin(_INITIALIZER, size)
        if (tensor := large.get(proto.name)) is None:
            yield proto.SerializeToString(deterministic=True)
            continue
        before, after = _split(proto, _RAW_DATA)
        yield before + _begin(_RAW_DATA, tensor.nbytes)
        yield tensors.read_bytes(tensor)
        yield after
        data_reader.release(tensor)
    yield graph_tail + tail


def to_bytes(model: ir.Model) -> bytes:
    """``model`` as the bytes of one ModelProto, of which the weights are copied once; the same model gives the same bytes.

    Raises:
        LimitError: It is more than one message can hold.
        InvalidModelError: The graph is broken, or an initializer has no value.
    """
    return b"".join(iter_bytes(model))


def count_bytes(model: ir.Model) -> int:
    """How many bytes that are, without a copy of the weights; raises the same."""
    return sum(map(len, iter_bytes(model)))


def _find_large(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """The large initializers of the main graph by name, but those that something else has too."""
    known: dict[int, int] = {}
    for tensor in tensors.iter_tensors(model):
        known[id(tensor)] = known.get(id(tensor), 0) + 1
    values = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {
        name: tensor
        for name, tensor in values.items()
        if tensor is not None
        and not isinstance(tensor, (ir.StringTensor, ir.serde.TensorProtoTensor))  # which may have other fields
        and tensor.nbytes >= _MIN_TENSOR_BYTES
        and known[id(tensor)] == 1
    }


def _measure(proto: onnx.TensorProto, apart: ir.TensorProtocol | None) -> int:
    """Bytes of ``proto`` with the elements that are ``apart``, which are then all that it refers to."""
    if apart is None:
        return int(proto.ByteSize())
    proto.ClearField("external_data")
    proto.ClearField("data_location")
    return int(proto.ByteSize()) + len(_begin(_RAW_DATA, apart.nbytes)) + apart.nbytes


def _split(message: Any, number: int) -> tuple[bytes, bytes]:
    """The fields of ``message`` before the one of that ``number``, and those behind it."""
    head, tail = type(message)(), type(message)()
    for field, value in message.ListFields():
        part = head if field.number < number else tail
        if field.number == number:
            continue
        if isinstance(value, (bool, int, float, str, bytes)):
            setattr(part, field.name, value)
        else:
            getattr(part, field.name).MergeFrom(value)
    return head.SerializeToString(deterministic=True), tail.SerializeToString(deterministic=True)


def _begin(number: int, size: int) -> bytes:
    """How a field of ``size`` bytes begins."""
    return bytes([number << 3 | 2]) + _varint(size)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
