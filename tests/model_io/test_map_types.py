"""Maps come through, at the edge of a model and inside it."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from onnxslim.model_io import map_types, model_file
from onnxslim.quantization.opset import raise_opset
from onnxslim.simplification.step import simplify
from tests.support.tabular_models import ML, classifier

NUMBER = helper.make_tensor_type_proto(TensorProto.FLOAT, [])


def _map(key: int) -> onnx.TypeProto:
    return helper.make_map_type_proto(key, NUMBER)


def _types(model: onnx.ModelProto) -> dict[str, bytes]:
    values = (*model.graph.input, *model.graph.output)
    return {value.name: value.type.SerializeToString(deterministic=True) for value in values}


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]])
def test_the_type_of_an_output_survives_reading_copying_simplifying_and_writing(labels: list[int] | list[str]) -> None:
    source = classifier(labels)
    before = source.SerializeToString(deterministic=True)
    model = model_file.load(source)
    results = [model, model_file.clone(model), model_file.load(model), simplify(source)[0], raise_opset(model, 21)[0]]
    for result in results[:4]:
        back = onnx.load_from_string(model_file.to_bytes(result))
        onnx.checker.check_model(back)
        assert _types(back) == _types(source)
    assert b"map" in str(onnx.load_from_string(model_file.to_bytes(results[4])).graph.output[1]).encode()
    assert source.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (_map(TensorProto.INT64), "map(int64,float)"),
        (helper.make_sequence_type_proto(_map(TensorProto.STRING)), "sequence(map(string,float))"),
        (helper.make_sequence_type_proto(NUMBER), None),
        (NUMBER, None),
    ],
)
def test_maps_are_told_from_other_types(type_: onnx.TypeProto, text: str | None) -> None:
    assert map_types.holds_map(type_) == (text is not None)
    proto = classifier([0, 1])
    proto.graph.output[1].type.CopyFrom(type_)
    model = map_types.from_proto(proto)
    assert map_types.describe(model.graph, "probabilities") == text
    assert _types(map_types.to_proto(model))["probabilities"] == type_.SerializeToString(deterministic=True)


def test_a_map_may_be_an_input_and_a_value_inside() -> None:
    vocabulary = helper.make_node("DictVectorizer", ["words"], ["y"], domain=ML, string_vocabulary=["a", "b"])
    words = helper.make_value_info("words", _map(TensorProto.STRING))
    graph = helper.make_graph([vocabulary], "g", [words], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid(ML, 1), helper.make_opsetid("", 17)], ir_version=8)
    result, _ = simplify(proto)
    assert _types(onnx.load_from_string(model_file.to_bytes(result))) == _types(proto)
    inner = classifier([0, 1])
    inner.graph.value_info.append(inner.graph.output[1])
    inner.graph.value_info[0].name = "never"
    assert _types(onnx.load_from_string(model_file.to_bytes(model_file.load(inner)))) == _types(inner)
