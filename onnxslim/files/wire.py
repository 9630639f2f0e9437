"""The protobuf wire format, read far enough to refuse a file before anything is allocated for it.

A parser turns an empty message of two bytes into a hundred, so a small file can fill the memory; and it tells a cut-off
file from a picture of a cat with the same words. This walk follows lengths only: it copies nothing and keeps nothing.
Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import functools
import mmap
from typing import Any

import onnx

from onnxslim.errors import InvalidModelError, LimitError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

#: A message of this many messages takes about 1 GB once parsed; a network of 20 000 nodes has a fortieth of it.
MAX_MESSAGES = 10_000_000

#: Protobuf's own limit on messages within messages: about 33 subgraphs within subgraphs.
MAX_DEPTH = 100


def survey(data: bytes | mmap.mmap, *, limit: int = MAX_MESSAGES) -> int:
    """Follow every length in ``data`` and return the number of messages that parsing it as a ModelProto would create.

    Args:
        data: A serialised ModelProto.
        limit: The most messages to accept.

    Raises:
        InvalidModelError: ``data`` is not protobuf, or ends before its own lengths say.
        LimitError: More than ``limit`` messages.
    """
    count = 0
    at, end, fields = 0, len(data), _fields(onnx.ModelProto.DESCRIPTOR.full_name)
    above: list[tuple[int, int, dict[int, str]]] = []
    while True:
        if at == end:
            if not above:
                return count
            at, end, fields = above.pop()
            continue
        tag, at = _varint(data, at, end)
        kind, number = tag & 7, tag >> 3
        if number == 0 or kind not in (_VARINT, _FIXED64, _LENGTH, _FIXED32):
            raise InvalidModelError(f"not an ONNX model (byte {at - 1} is no protobuf field)")
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind != _LENGTH:
            at = _skip(8 if kind == _FIXED64 else 4, at, end)
        else:
            size, at = _varint(data, at, end)
            behind = _skip(size, at, end)
            name = fields.get(number)
            if name is None:
                at = behind
                continue
            count += 1
            if count > limit:
                raise LimitError(
                    f"more than {limit:,} nodes, attributes and shapes",
                    hint="no network has that many; the file is built to fill the memory",
                )
            if len(above) == MAX_DEPTH:
                raise InvalidModelError(f"messages within messages, more than {MAX_DEPTH} deep")
            above.append((behind, end, fields))
            end, fields = behind, _fields(name)


def _skip(size: int, at: int, end: int) -> int:
    """The position ``size`` bytes on."""
    if at + size > end:
        raise InvalidModelError(
            f"not an ONNX model, or cut short: byte {at} promises {size:,} bytes, {end - at:,} are left"
        )
    return at + size


def _varint(data: bytes | mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """The base-128 number at ``at`` and the position behind it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise InvalidModelError(f"not an ONNX model, or cut short at byte {at}")


@functools.cache
def _fields(full_name: str) -> dict[int, str]:
    """Which field numbers of a message type hold messages, and of what type."""
    descriptor: Any = _descriptors()[full_name]
    return {f.number: f.message_type.full_name for f in descriptor.fields if f.message_type is not None}


@functools.cache
def _descriptors() -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting: list[Any] = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in found:
            found[descriptor.full_name] = descriptor
            waiting += [f.message_type for f in descriptor.fields if f.message_type is not None]
    return found
