"""Broken and hostile bytes, from the file, under a bare name, and as bytes: one typed error, in ten seconds."""

from __future__ import annotations

import functools
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
INVALID, UNSUPPORTED, LIMIT = "InvalidModelError", "UnsupportedError", "LimitError"

#: name → (what makes the bytes, the errors it may end in, what the message must say)
ATTACKS: dict[str, tuple[Callable[[], bytes], str, str]] = {}


def attack_of(expected: str, says: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    def register(build: Callable[[], bytes]) -> Callable[[], bytes]:
        ATTACKS[build.__name__] = (build, expected, says)
        return build

    return register


def info(name: str, shape: list | None = None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [2] if shape is None else shape)


def good() -> onnx.ModelProto:
    """y = Relu(x + w), which every attack spoils in one place."""
    nodes = [
        helper.make_node("Add", ["x", "w"], ["s"], name="add"),
        helper.make_node("Relu", ["s"], ["y"], name="relu"),
    ]
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    graph = helper.make_graph(nodes, "graph", [info("x")], [info("y")], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def spoilt(name: str, expected: str, says: str, spoil: Callable[[onnx.ModelProto], object]) -> None:
    def build() -> bytes:
        model = good()
        spoil(model)
        return model.SerializeToString()

    ATTACKS[name] = (build, expected, says)


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def with_nodes(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def branch(output: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [info(output)])


def nameless() -> onnx.GraphProto:
    graph = branch("t", helper.make_node("Relu", ["x"], ["t"]))
    graph.ClearField("name")
    return graph


def with_branches(model: onnx.ModelProto, then: onnx.GraphProto) -> None:
    model.graph.input.append(info("c", [], TensorProto.BOOL))
    other = branch("z", helper.make_node("Relu", ["x"], ["z"]))
    with_nodes(model, helper.make_node("If", ["c"], ["y"], name="if", then_branch=then, else_branch=other))


def weight(model: onnx.ModelProto) -> TensorProto:
    return model.graph.initializer[0]


# Bytes that are no model.
ATTACKS["empty"] = (lambda: b"", INVALID, "empty|no graph")
ATTACKS["one zero byte"] = (lambda: b"\0", INVALID, "not an ONNX model")
ATTACKS["a megabyte of zeros"] = (lambda: bytes(1_000_000), INVALID, "not an ONNX model")
ATTACKS["random bytes"] = (lambda: random.Random(1).randbytes(4096), INVALID, "not an ONNX model")
ATTACKS["text"] = (lambda: b"hello, this is my network\n", INVALID, "not an ONNX model")
ATTACKS["a Git LFS pointer"] = (lambda: b"version https://git-lfs.github.com/spec/v1\n", INVALID, "not an ONNX model")
ATTACKS["a zip"] = (lambda: b"PK\x03\x04" + b"archive/data.pkl" * 9, INVALID, "not an ONNX model")
ATTACKS["parses as nothing"] = (lambda: b"PK", INVALID, "no graph")
ATTACKS["only an IR version"] = (lambda: b"\x08\x08", INVALID, "no graph")
ATTACKS["cut at a tenth"] = (lambda: (b := good().SerializeToString())[: len(b) // 10], INVALID, "cut short")
ATTACKS["cut at half"] = (lambda: (b := good().SerializeToString())[: len(b) // 2], INVALID, "cut short")
ATTACKS["cut by one byte"] = (lambda: good().SerializeToString()[:-1], INVALID, "cut short")
ATTACKS["a length without end"] = (lambda: b"\x3a" + b"\xff" * 12, INVALID, "cut short")
ATTACKS["numbers that end early"] = (lambda: b"\x08\x08" + field(7, field(5, field(7, b"\xff"))), INVALID, "corrupt")
ATTACKS["a length of 2^60"] = (lambda: b"\x3a" + varint(2**60) + b"x", INVALID, "promises")
ATTACKS["a thousand messages deep"] = (
    lambda: b"\x08\x08" + field(7, functools.reduce(lambda inner, _: field(1, field(5, field(6, inner))), range(333), b"")),
    INVALID,
    "deep",
)
ATTACKS["very many empty nodes"] = (lambda: b"\x08\x08" + field(7, b"\x0a\0" * 200_000), LIMIT, "more than")
ATTACKS["millions of empty names"] = (lambda: field(7, field(1, b"\x0a\0" * 2_600_000)), LIMIT, "many steps")
ATTACKS["millions of fields"] = (lambda: b"\x08\x08\x28\x01" * 1_300_000, LIMIT, "many steps")
ATTACKS["zeros that grow eightfold"] = (lambda: field(7, field(5, field(7, bytes(16_000_000)))), LIMIT, "more than")

# Versions.
spoilt("no IR version", INVALID, "no IR version", lambda m: m.ClearField("ir_version"))
spoilt("IR version 2", UNSUPPORTED, "IR version 2", lambda m: setattr(m, "ir_version", 2))
spoilt("IR version of the future", UNSUPPORTED, "IR version 9999", lambda m: setattr(m, "ir_version", 9999))
spoilt("no opset", INVALID, "opset_import", lambda m: m.ClearField("opset_import"))
spoilt("opset 0", INVALID, "ai.onnx", lambda m: setattr(m.opset_import[0], "version", 0))
spoilt("opset 6", UNSUPPORTED, "opset 6", lambda m: setattr(m.opset_import[0], "version", 6))
spoilt("opset of the future", UNSUPPORTED, "opset 4000", lambda m: setattr(m.opset_import[0], "version", 4000))
spoilt("two opsets of one domain", INVALID, "second", lambda m: m.opset_import.add(domain="ai.onnx", version=11))
spoilt("a domain that is not imported", INVALID, "'add'", lambda m: setattr(m.graph.node[0], "domain", "somewhere"))

# Names.
spoilt(
    "undefined input",
    INVALID,
    "'relu'.*'nowhere' is not defined",
    lambda m: m.graph.node[1].input.__setitem__(0, "nowhere"),
)
spoilt("a node that waits for itself", INVALID, "'add'.*cycle", lambda m: m.graph.node[0].input.__setitem__(0, "s"))
spoilt("a cycle of two", INVALID, "'add'.*'relu'.*cycle", lambda m: m.graph.node[0].input.__setitem__(0, "y"))
spoilt("nodes out of order", INVALID, "'relu'.*later", lambda m: with_nodes(m, *reversed(list(m.graph.node))))
spoilt("an output made twice", INVALID, "'relu'.*already", lambda m: m.graph.node[1].output.append("s"))
spoilt("an output named as an input", INVALID, "'relu'.*already", lambda m: m.graph.node[1].output.append("x"))
spoilt("two inputs of one name", INVALID, "two inputs.*'x'", lambda m: m.graph.input.append(info("x")))
spoilt("two initializers of one name", INVALID, "two initializers.*'w'", lambda m: m.graph.initializer.append(weight(m)))
spoilt("an initializer without a name", INVALID, "unnamed initializer", lambda m: setattr(weight(m), "name", ""))
spoilt("an output nobody makes", INVALID, "'z'", lambda m: setattr(m.graph.output[0], "name", "z"))
spoilt("no outputs", INVALID, "no outputs", lambda m: m.graph.ClearField("output"))
spoilt("no name of a branch, which the runtime asks for", INVALID, "'if'.*'name'", lambda m: with_branches(m, nameless()))
spoilt("two attributes of one name", INVALID, "two attributes", lambda m: with_nodes(m, twice_alpha()))
spoilt("metadata twice", INVALID, "metadata", lambda m: [m.metadata_props.add(key="k", value="v") for _ in "ab"])
spoilt(
    "undefined input in a branch",
    INVALID,
    "'inner'.*'nowhere' is not defined",
    lambda m: with_branches(m, branch("t", helper.make_node("Relu", ["nowhere"], ["t"], name="inner"))),
)
spoilt(
    "a cycle through a branch",
    INVALID,
    "'inner'.*cycle",
    lambda m: with_branches(m, branch("t", helper.make_node("Relu", ["y"], ["t"], name="inner"))),
)
spoilt("a branch that returns what it did not make", INVALID, "'x'", lambda m: with_branches(m, branch("x")))


def twice_alpha() -> onnx.NodeProto:
    node = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.1)
    node.attribute.append(node.attribute[0])
    return node


@attack_of(INVALID, "UTF-8")
def name_that_is_not_text() -> bytes:
    return good().SerializeToString().replace(b"relu", b"re\xffu")


@attack_of(INVALID, "UTF-8")
def operator_that_is_not_text() -> bytes:
    return good().SerializeToString().replace(b"Relu", b"Re\xffu")


@attack_of(INVALID, "'F' calls itself")
def function_that_calls_itself() -> bytes:
    model, imports = good(), [helper.make_opsetid("local", 1)]
    body = [helper.make_node("F", ["a"], ["b"], domain="local")]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], body, imports))
    model.opset_import.append(imports[0])
    with_nodes(model, helper.make_node("F", ["x"], ["y"], domain="local", name="call"))
    return model.SerializeToString()


@attack_of(INVALID, "'F'.*'nothing'")
def function_output_nobody_makes() -> bytes:
    model, imports = good(), [helper.make_opsetid("", 17)]
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("local", "F", ["a"], ["nothing"], body, imports))
    return model.SerializeToString()


@attack_of(INVALID, "twice")
def function_defined_twice() -> bytes:
    model = good()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.extend([helper.make_function("local", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)])] * 2)
    return model.SerializeToString()


# Tensors.
spoilt("raw data too short", INVALID, "'w'.*8 bytes.*4", lambda m: setattr(weight(m), "raw_data", b"1234"))
spoilt("raw data too long", INVALID, "'w'.*8 bytes.*800", lambda m: setattr(weight(m), "raw_data", bytes(800)))
spoilt("no data", INVALID, "'w'", lambda m: weight(m).ClearField("raw_data"))
spoilt("data in two places", INVALID, "'w'", lambda m: weight(m).float_data.extend([1, 2]))
spoilt("too few elements", INVALID, "'w'.*2 elements", lambda m: replace_data(m, float_data=[1.0]))
spoilt("elements of another type", INVALID, "'w'.*int64_data", lambda m: replace_data(m, int64_data=[1, 2]))
spoilt("strings as raw data", INVALID, "'w'.*STRING", lambda m: setattr(weight(m), "data_type", TensorProto.STRING))
spoilt("no element type", INVALID, "'w'.*type", lambda m: setattr(weight(m), "data_type", 0))
spoilt("an unknown element type", INVALID, "'w'.*type", lambda m: setattr(weight(m), "data_type", 999))
spoilt("a negative dimension", INVALID, "'w'.*negative", lambda m: weight(m).dims.__setitem__(0, -2))
spoilt("two negative dimensions", INVALID, "'w'.*negative", lambda m: weight(m).dims.__setitem__(slice(0, 1), [-1, -2]))
spoilt("an exabyte of claims", INVALID, "'w'", lambda m: weight(m).dims.extend([2**40, 2**20]))
spoilt("a size that overflows to two", INVALID, "'w'", lambda m: weight(m).dims.extend([2**32, 2**32]))
spoilt("a huge constant", INVALID, "'const'", lambda m: m.graph.node.append(huge_constant()))
spoilt("a huge input", INVALID, "'x'.*exist", lambda m: m.graph.input[0].CopyFrom(info("x", [2**40, 2**40])))
spoilt("an input of -5", INVALID, "'x'.*negative", lambda m: m.graph.input[0].CopyFrom(info("x", [-5])))
spoilt("an input of no known type", INVALID, "'x'.*type", lambda m: m.graph.input[0].CopyFrom(info("x", kind=99)))
spoilt("a sparse initializer", UNSUPPORTED, "sparse", lambda m: m.graph.sparse_initializer.add())
spoilt("a map of nothing as an input", INVALID, "'x'.*map", lambda m: m.graph.input[0].type.map_type.SetInParent())
spoilt("an opaque input", UNSUPPORTED, "'x'.*opaque", lambda m: m.graph.input[0].type.opaque_type.SetInParent())
spoilt("a sequence of nothing", INVALID, "'x'", lambda m: m.graph.input[0].type.sequence_type.SetInParent())
spoilt("a shape inside a sequence bomb", INVALID, "'x'", lambda m: nested_type(m.graph.input[0].type, 30))

# Operators and attributes.
spoilt("an op that does not exist", UNSUPPORTED, "'relu'", lambda m: setattr(m.graph.node[1], "op_type", "Explode"))
spoilt("too many inputs", INVALID, "'relu'", lambda m: m.graph.node[1].input.append("x"))
spoilt(
    "an attribute it does not have",
    INVALID,
    "'relu'.*boom",
    lambda m: m.graph.node[1].attribute.add(name="boom", type=2),
)
spoilt("an attribute without a type", INVALID, "'relu'", lambda m: m.graph.node[1].attribute.add(name="boom"))
spoilt("a required attribute left out", INVALID, "'relu'", lambda m: setattr(m.graph.node[1], "op_type", "Concat"))
spoilt("a name that clears the terminal", INVALID, "not defined", lambda m: rename(m.graph.node[1], "\x1b[2J\r\n"))
spoilt("a name of a megabyte", INVALID, "node 'aaa", lambda m: rename(m.graph.node[1], "a" * 1_000_000))
spoilt("no op at all", INVALID, "'relu'|op_type", lambda m: m.graph.node[1].ClearField("op_type"))
spoilt("an attribute of a function nobody is in", INVALID, "'relu'", lambda m: refer_to_attribute(m.graph.node[1]))
spoilt("a sparse attribute", UNSUPPORTED, "sparse", lambda m: sparse_attribute(m.graph.node[1]))
spoilt("strings that are not text", INVALID, "UTF-8", lambda m: byte_strings(m.graph.node[1]))

# External data, as text in the message; where they lie is the business of test_folders.py.
EXTERNAL = {
    "external without a location": ({"offset": "0"}, "none by name"),
    "external with a key of Python's": ({"location": "w.bin", "__class__": "x"}, "__class__"),
    "external at a negative offset": ({"location": "w.bin", "offset": "-8"}, "count of bytes"),
    "external at a hexadecimal offset": ({"location": "w.bin", "offset": "0x8"}, "count of bytes"),
    "external at an offset of a hundred digits": ({"location": "w.bin", "offset": "9" * 100}, "count of bytes"),
    "external with too short a length": ({"location": "w.bin", "length": "4"}, "8 bytes"),
    "external with too great a length": ({"location": "w.bin", "length": "4000000000"}, "8 bytes"),
}
for _name, (_entries, _says) in EXTERNAL.items():
    spoilt(_name, INVALID, _says, lambda m, entries=_entries: externalise(weight(m), **entries))
spoilt("external and internal at once", INVALID, "at once", lambda m: setattr(weight(m), "data_location", 1))
spoilt("external strings", INVALID, "strings", lambda m: externalise(weight(m), TensorProto.STRING, location="w.bin"))


def externalise(tensor: TensorProto, kind: int = FLOAT, **entries: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_type = kind
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def replace_data(model: onnx.ModelProto, **data: list) -> None:
    weight(model).ClearField("raw_data")
    for name, values in data.items():
        getattr(weight(model), name).extend(values)


def rename(node: onnx.NodeProto, name: str) -> None:
    node.name = name
    node.input[0] = "nowhere"


def huge_constant() -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["k"], name="const", value=numpy_helper.from_array(np.zeros(1, np.float32)))
    node.attribute[0].t.dims[:] = [2**31, 2**31]
    return node


def nested_type(proto: onnx.TypeProto, depth: int) -> None:
    for _ in range(depth):
        proto.sequence_type.SetInParent()
        proto = proto.sequence_type.elem_type


def refer_to_attribute(node: onnx.NodeProto) -> None:
    node.op_type = "LeakyRelu"
    node.attribute.add(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="alpha")


def sparse_attribute(node: onnx.NodeProto) -> None:
    node.attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)


def byte_strings(node: onnx.NodeProto) -> None:
    node.attribute.add(name="words", type=AttributeProto.STRINGS).strings.append(b"\xff\xfe")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("form", ["here", "path", "name", "bytes"])
@pytest.mark.parametrize("name", ATTACKS)
def test_broken_bytes_end_in_one_typed_error(name, form, attack, tmp_path):
    build, expected, says = ATTACKS[name]
    if form == "here" and expected == LIMIT:
        pytest.skip("a bomb belongs into a process of its own")
    (tmp_path / "model.onnx").write_bytes(build())
    told = attack(tmp_path, form, **({"max_memory": 100_000_000} if expected == LIMIT else {}))
    assert told["outcome"] == expected, told
    assert told["message"].isprintable()
    assert len(told["message"]) <= 500
    assert re.search(says, told["message"]), told["message"]
    assert sorted(os.listdir(tmp_path)) == ["model.onnx"]
    assert {Path(path) for path in told["opened"]} <= {tmp_path / "model.onnx"}


@pytest.mark.parametrize("form", ["path", "name", "bytes"])
def test_the_model_that_the_attacks_spoil_is_a_good_one(form, attack, tmp_path):
    (tmp_path / "model.onnx").write_bytes(good().SerializeToString())
    told = attack(tmp_path, form)
    assert (told["outcome"], told["sum"]) == ("loaded", 2.0)


def test_there_are_enough_of_them():
    assert len(ATTACKS) >= 60
