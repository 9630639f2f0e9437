"""Every text of a file may be bytes that are no text: all are read, or refused in words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor
from onnx import helper

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_io import model_file

FLOAT = onnx.TensorProto.FLOAT


def make_rich() -> onnx.ModelProto:
    """A model with a function, branches, metadata everywhere and texts in every kind of field."""
    x, y, b = (
        helper.make_tensor_value_info(n, t, ["n"]) for n, t in (("x", FLOAT), ("y", FLOAT), ("b", onnx.TensorProto.BOOL))
    )
    inner = helper.make_tensor_value_info("inner", FLOAT, ["n"])
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["inner"], name="in")], "branch", [], [inner])
    nodes = [
        helper.make_node("F", ["x"], ["h"], domain="local", name="call", slope=0.5),
        helper.make_node("If", ["b"], ["k"], then_branch=branch, else_branch=branch, name="choice"),
        helper.make_node("Constant", [], ["c"], value=helper.make_tensor("t", FLOAT, [1], [2.0])),
        helper.make_node("Constant", [], ["s"], value_strings=["a", "b"]),
        helper.make_node("Mul", ["k", "c"], ["m"]),
        helper.make_node("Add", ["h", "m"], ["y"]),
    ]
    leaky = helper.make_node("LeakyRelu", ["p"], ["q"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    known = helper.make_tensor_value_info("q", FLOAT, ["n"], doc_string="what it gives")
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    function = helper.make_function("local", "F", ["p"], ["q"], [leaky], imports[:1], ["slope"], value_info=[known])
    graph = helper.make_graph(nodes, "g", [x, b], [y], value_info=[helper.make_tensor_value_info("h", FLOAT, ["n"])])
    model = helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=10, producer_name="us")
    for owner in (model, graph, model.graph, model.graph.node[0], model.graph.input[0], model.functions[0], leaky):
        owner.metadata_props.add(key="key", value="value")
        owner.doc_string = "words"
    annotation = model.graph.quantization_annotation.add(tensor_name="h")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="c")
    return model


def iter_texts(message: Any) -> Iterator[tuple[Any, FieldDescriptor, int | None]]:
    """Every string field that is set: whose, which, and of several which one."""
    for field, value in message.ListFields():
        several = isinstance(value, str) is False and hasattr(value, "__len__") and not isinstance(value, bytes)
        for index, one in enumerate(value if several else [value]):
            if field.type == FieldDescriptor.TYPE_STRING:
                yield message, field, index if several else None
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                yield from iter_texts(one)


COUNT = len(list(iter_texts(make_rich())))


def spoil(number: int) -> bytes:
    """The model's bytes with the text of that number no text, as long as before."""
    model, mark = make_rich(), "§§§§§§§"
    message, field, index = list(iter_texts(model))[number]
    if index is None:
        setattr(message, field.name, mark)
    else:
        getattr(message, field.name)[index] = mark
    return model.SerializeToString().replace(mark.encode(), b"\xff" * len(mark.encode()))


def test_the_model_is_read_as_it_is() -> None:
    assert COUNT > 60
    model_file.to_bytes(model_file.load(make_rich().SerializeToString()))


@pytest.mark.parametrize("number", range(COUNT))
def test_a_text_that_is_none_is_refused_in_words_or_read(number: int) -> None:
    with contextlib.suppress(OnnxslimError):
        model_file.to_bytes(model_file.load(spoil(number)))
