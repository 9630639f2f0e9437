"""Protobuf's text format against protobuf itself, and what is none."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorShapeProto, ValueInfoProto

from onnxslim.model_folders.text_format import TextFormatError, parse_text_format

_NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\"\\'"), max_size=12)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_NAMES, st.lists(st.integers(-5, 2**40), max_size=4), _NAMES)
def test_fields_are_read_as_protobuf_writes_them(name, sizes, note):
    message = ValueInfoProto(name=name, doc_string=note)
    message.type.tensor_type.shape.CopyFrom(TensorShapeProto())
    for size in sizes:
        message.type.tensor_type.shape.dim.add().dim_value = size
    for line in (False, True):
        fields = parse_text_format(text_format.MessageToString(message, as_one_line=line))
        assert fields.get("name", [""]) == [name]
        shape = fields["type"][0]["tensor_type"][0]["shape"][0]
        assert [int(dim["dim_value"][0]) if "dim_value" in dim else 0 for dim in shape.get("dim", [])] == sizes


def test_lists_comments_separators_and_strings_in_parts():
    text = "a: [1, -2,3] # note\nb { c: 'x' \"y\"; d: TYPE_X, } b: <e: 1>"
    assert parse_text_format(text) == {"a": ["1", "-2", "3"], "b": [{"c": ["xy"], "d": ["TYPE_X"]}, {"e": ["1"]}]}


@pytest.mark.parametrize(
    "text", ["a {", "a: ]", "a", ": 1", "1: 2", 'a: "x', "a: [1", "}", "a: 1 \x01", "a {" * 50, "a: " + "[" * 5000]
)
def test_what_is_none_ends_in_its_own_error(text):
    with pytest.raises(TextFormatError):
        parse_text_format(text)


def test_an_error_far_down_names_its_line_and_a_long_file_is_read_at_once():
    text = "a: 1  # one\n" * 100_000
    assert len(parse_text_format(text)["a"]) == 100_000
    with pytest.raises(TextFormatError, match="line 100001"):
        parse_text_format(text + "\x01")
