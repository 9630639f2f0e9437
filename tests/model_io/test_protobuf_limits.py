"""The survey believes no length, and weighs what parsing would take."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxslim.core.errors import InvalidModelError, LimitError
from onnxslim.model_io import protobuf_limits


def model(ints: int = 3) -> onnx.ModelProto:
    """A forest: attributes with ``ints`` numbers, and a bit of each other wire type."""
    node = helper.make_node("Forest", ["x"], ["y"], domain="trees")
    node.attribute.add(name="ids", type=onnx.AttributeProto.INTS).ints.extend(range(-1, ints - 1))
    node.attribute.add(name="values", type=onnx.AttributeProto.FLOATS).floats.extend(np.arange(ints, dtype=np.float32))
    node.attribute.add(name="words", type=onnx.AttributeProto.STRINGS).strings.extend([b"a", b"b"])
    tensor = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[2], double_data=[1, 2])
    values = [helper.make_tensor_value_info(name, 1, [None, 2]) for name in "xy"]
    return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [tensor]), ir_version=8)


def varint(number: int) -> bytes:
    return b"" if number == 0 else bytes([number & 127 | (128 if number > 127 else 0)]) + varint(number >> 7)


DATA = model().SerializeToString()


@given(st.integers(0, len(DATA) - 1))
def test_a_file_cut_short_anywhere_is_never_taken_for_a_whole_one(length):
    """A cut between two fields of the model leaves a shorter, sound message, which protobuf takes too."""
    try:
        protobuf_limits.estimate_memory(DATA[:length])
    except InvalidModelError:
        with pytest.raises(DecodeError):
            onnx.ModelProto.FromString(DATA[:length])
    else:
        onnx.ModelProto.FromString(DATA[:length])


@settings(max_examples=500)
@given(st.integers(0, len(DATA) - 1), st.integers(0, 255))
def test_what_protobuf_parses_the_survey_passes(position, byte):
    data = DATA[:position] + bytes([byte]) + DATA[position + 1 :]
    try:
        onnx.ModelProto.FromString(data)
    except DecodeError:
        return
    try:
        protobuf_limits.estimate_memory(data)
    except InvalidModelError as error:  # but for groups, which ONNX never had and protobuf passes over
        at = re.search(r"byte (\d+) is no protobuf field", error.message)
        assert at is not None
        assert data[int(at[1])] & 7 in (3, 4)


@given(st.binary(max_size=300))
def test_any_bytes_are_passed_or_refused(data):
    with contextlib.suppress(InvalidModelError):
        assert protobuf_limits.estimate_memory(data) >= 0


def test_a_forest_of_a_million_numbers_is_followed_in_leaps():
    data = model(ints=1_000_000).SerializeToString()
    assert protobuf_limits.estimate_memory(data) < 60_000_000


def test_the_fixed64_of_a_foreign_field_is_followed():
    assert protobuf_limits.estimate_memory(DATA + bytes([15 << 3 | 1]) + bytes(8)) > 0
    with pytest.raises(InvalidModelError, match="promises 8 bytes"):
        protobuf_limits.estimate_memory(DATA + bytes([15 << 3 | 1]) + bytes(7))


@pytest.mark.parametrize("numbers", [312_000_000, 313_000_000])
def test_a_number_of_one_byte_counts_eight(numbers):
    """A tensor of packed zeros, which is a file of holes: 2.5 GB once parsed is where it ends by default."""
    tensor = b"\x3a" + varint(numbers) + bytes(numbers)
    graph = b"\x2a" + varint(len(tensor)) + tensor
    data = b"\x3a" + varint(len(graph)) + graph
    if 8 * numbers < protobuf_limits.DEFAULT_MAX_MEMORY:
        assert 8 * numbers < protobuf_limits.estimate_memory(data) < 8 * numbers + 5000
    else:
        with pytest.raises(LimitError, match="2,500,000,000"):
            protobuf_limits.estimate_memory(data)


def test_the_limit_is_the_callers():
    taken = protobuf_limits.estimate_memory(DATA)
    assert protobuf_limits.estimate_memory(DATA, max_memory=taken) == taken
    with pytest.raises(LimitError):
        protobuf_limits.estimate_memory(DATA, max_memory=taken - 1)
