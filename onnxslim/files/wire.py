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

from onnxslim.errors import InvalidModelError, LimitError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

#: What a parsed model may take when nobody says otherwise. A message holds 2 GB, and weights take what they measure.
MAX_BYTES = 2_500_000_000

#: A string's place in its list, besides what is in it.
_PER_STRING = 16

#: One node, attribute, shape…: the parser's object and what the model makes of it.
_PER_MESSAGE = 1000

#: A field that is read on its own takes half a microsecond; a network of 20 000 nodes has some 300 000.
_MAX_STEPS = 2_500_000

#: Protobuf's own limit on messages within messages: about 33 subgraphs within subgraphs.
_MAX_DEPTH = 100


#: Bytes of a parsed number that may be one byte in the file, by protobuf's C++ type (int32, int64, uint32, uint64).
_WIDTH = {1: 4, 2: 8, 3: 4, 4: 8}


class _Fields(NamedTuple):
    """Of one message type: the fields that hold messages, with their type, and those of numbers, with their width."""

    messages: dict[int, str]
    numbers: dict[int, int]


def survey(data: bytes | mmap.mmap, limit: int = MAX_BYTES) -> int:
    """Follow every length in ``data``, a serialised ModelProto, and return about how many bytes it takes once parsed.

    Raises:
        InvalidModelError: ``data`` is not protobuf, or ends before its own lengths say.
        LimitError: More than ``limit`` bytes, or more fields than can be followed in a few seconds.
    """
    taken = steps = 0
    at, end, fields = 0, len(data), _fields(onnx.ModelProto.DESCRIPTOR.full_name)
    above: list[tuple[int, int, _Fields]] = []
    while at < end or above:
        if at == end:
            at, end, fields = above.pop()
            continue
        start = at
        tag, at = _varint(data, at, end)
        kind, number = tag & 7, tag >> 3
        if number == 0 or kind not in (_VARINT, _FIXED64, _LENGTH, _FIXED32):
            raise InvalidModelError(f"not an ONNX model (byte {start} is no protobuf field)")
        if kind == _LENGTH:
            size, at = _varint(data, at, end)
            behind = _skip(size, at, end)
            if number not in fields.messages:
                taken += _PER_STRING + size * fields.numbers.get(number, 1)
                at = behind
            else:
                taken += _PER_MESSAGE
                if len(above) == _MAX_DEPTH:
                    raise InvalidModelError(f"messages within messages, more than {_MAX_DEPTH} deep")
                above.append((behind, end, fields))
                end, fields = behind, _fields(fields.messages[number])
        else:
            at = _varint(data, at, end)[1] if kind == _VARINT else _skip(8 if kind == _FIXED64 else 4, at, end)
            if at < end and data[at] == tag and kind != _FIXED64:
                at = _run(tag).match(data, at, end).end()  # type: ignore[union-attr]
            taken += 4 * (at - start)
        steps += 1
        if taken > limit or steps > _MAX_STEPS:
            text = f"reading it takes more than {limit:,} bytes, or very many steps"
            raise LimitError(text, hint="--max-memory, if you trust the file")
    return taken


def _skip(size: int, at: int, end: int) -> int:
    """The position ``size`` bytes on."""
    if at + size > end:
        text = f"byte {at} promises {size:,} bytes, {end - at:,} are left"
        raise InvalidModelError(f"not an ONNX model, or cut short: {text}")
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
def _run(tag: int) -> re.Pattern[bytes]:
    """Up to a thousand fields of one tag on end, as the attributes of a forest of trees have them by the million."""
    field = rb"[\x80-\xff]{0,9}[\x00-\x7f]" if tag & 7 == _VARINT else rb"[\x00-\xff]{4}"
    return re.compile(rb"(?:" + re.escape(bytes([tag])) + field + rb"){0,1000}")


@functools.cache
def _fields(full_name: str) -> _Fields:
    fields = _descriptors()[full_name].fields
    return _Fields(
        {field.number: field.message_type.full_name for field in fields if field.message_type is not None},
        {field.number: _WIDTH[field.cpp_type] for field in fields if field.cpp_type in _WIDTH},
    )


@functools.cache
def _descriptors() -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting: list[Any] = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in found:
            found[descriptor.full_name] = descriptor
            waiting += [field.message_type for field in descriptor.fields if field.message_type is not None]
    return found
