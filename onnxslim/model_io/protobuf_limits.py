"""The protobuf wire format, read far enough to refuse a file before anything is allocated for it.

A parser makes a hundred bytes of an empty message of two, and eight of a zero of one, so a small file (or a large one
full of holes) can fill the memory; and it tells a model that was cut short from a picture of a cat in the same words.
This walk follows lengths and adds up what parsing would take: it copies nothing and keeps nothing.
Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import functools
import mmap
import re
from typing import Any, NamedTuple

import onnx

from onnxslim.core.errors import InvalidModelError, LimitError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

#: What a parsed model may take when nobody says otherwise. A message holds 2 GB, and weights take what they measure.
DEFAULT_MAX_MEMORY = 2_500_000_000

#: A string's place in its list, besides what is in it.
_BYTES_PER_STRING = 16

#: One node, attribute, shape…: the parser's object and what the model makes of it.
_BYTES_PER_MESSAGE = 1000

#: A field that is read on its own takes half a microsecond; a network of 20 000 nodes has some 300 000.
_MAX_STEPS = 2_500_000

#: Protobuf's own limit on messages within messages: about 33 subgraphs within subgraphs.
_MAX_DEPTH = 100


#: Bytes of a parsed number that may be one byte in the file, by protobuf's C++ type (int32, int64, uint32, uint64).
_PARSED_WIDTHS = {1: 4, 2: 8, 3: 4, 4: 8}


class _Fields(NamedTuple):
    """The fields of one message type: those that hold messages, with their descriptor, and numbers, with their width."""

    messages: dict[int, Any]
    numbers: dict[int, int]


def estimate_memory(data: bytes | mmap.mmap, max_memory: int = DEFAULT_MAX_MEMORY) -> int:
    """Follow every length in ``data``, a serialised ModelProto, and return about how many bytes it takes once parsed.

    Raises:
        InvalidModelError: ``data`` is not protobuf, or ends before its own lengths say.
        LimitError: More than ``max_memory`` bytes, or more fields than can be followed in a few seconds.
    """
    memory = steps = 0
    position, end, fields = 0, len(data), _load_fields(onnx.ModelProto.DESCRIPTOR)
    enclosing: list[tuple[int, int, _Fields]] = []
    while position < end or enclosing:
        if position == end:
            position, end, fields = enclosing.pop()
            continue
        start = position
        tag, position = _read_varint(data, position, end)
        wire_type, field_number = tag & 7, tag >> 3
        if field_number == 0 or wire_type not in (_VARINT, _FIXED64, _LENGTH, _FIXED32):
            raise InvalidModelError(f"not an ONNX model (byte {start} is no protobuf field)")
        if wire_type == _LENGTH:
            size, position = _read_varint(data, position, end)
            next_position = _skip(size, position, end)
            if field_number not in fields.messages:
                memory += _BYTES_PER_STRING + size * fields.numbers.get(field_number, 1)
                position = next_position
            else:
                memory += _BYTES_PER_MESSAGE
                if len(enclosing) == _MAX_DEPTH:
                    raise InvalidModelError(f"messages within messages, more than {_MAX_DEPTH} deep")
                enclosing.append((next_position, end, fields))
                end, fields = next_position, _load_fields(fields.messages[field_number])
        else:
            if wire_type == _VARINT:
                _, position = _read_varint(data, position, end)
            else:
                position = _skip(8 if wire_type == _FIXED64 else 4, position, end)
            if position < end and data[position] == tag and wire_type != _FIXED64:
                position = _repeated_field_pattern(tag).match(data, position, end).end()  # type: ignore[union-attr]
            memory += 4 * (position - start)
        steps += 1
        if memory > max_memory or steps > _MAX_STEPS:
            text = f"reading it takes more than {max_memory:,} bytes, or very many steps"
            raise LimitError(text, hint="--max-memory, if you trust the file")
    return memory


def _skip(size: int, position: int, end: int) -> int:
    """The position ``size`` bytes on."""
    if position + size > end:
        text = f"byte {position} promises {size:,} bytes, {end - position:,} are left"
        raise InvalidModelError(f"not an ONNX model, or cut short: {text}")
    return position + size


def _read_varint(data: bytes | mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """The base-128 number at ``position`` and the position behind it."""
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise InvalidModelError(f"not an ONNX model, or cut short at byte {position}")


@functools.cache
def _repeated_field_pattern(tag: int) -> re.Pattern[bytes]:
    """Up to a thousand fields of one tag on end, as the attributes of a forest of trees have them by the million."""
    field = rb"[\x80-\xff]{0,9}[\x00-\x7f]" if tag & 7 == _VARINT else rb"[\x00-\xff]{4}"
    return re.compile(rb"(?:" + re.escape(bytes([tag])) + field + rb"){0,1000}")


@functools.cache
def _load_fields(descriptor: Any) -> _Fields:
    fields = descriptor.fields
    return _Fields(
        {field.number: field.message_type for field in fields if field.message_type is not None},
        {field.number: _PARSED_WIDTHS[field.cpp_type] for field in fields if field.cpp_type in _PARSED_WIDTHS},
    )
