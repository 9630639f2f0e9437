"""The oldest runtime, by opset, IR version and the younger ops."""

from __future__ import annotations

import itertools

import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.graph.runtime_versions import _RELEASES, check_loads_in, oldest_runtime


def model(opset: int, ir_version: int, *nodes: ir.Node, **imports: int) -> ir.Model:
    graph = ir.Graph([], [], nodes=nodes, opset_imports={"": opset, **imports}, name="g")
    return ir.Model(graph, ir_version=ir_version)


@pytest.mark.parametrize(
    ("opset", "ir_version", "release"),
    [
        (9, 3, "1.0"),
        (12, 7, "1.3"),
        (13, 7, "1.6"),
        (15, 8, "1.9"),
        (17, 8, "1.12"),
        (17, 9, "1.15"),
        (20, 9, "1.17"),
        (13, 10, "1.18"),
        (23, 11, "1.23"),
        (28, 14, "1.32"),
        (99, 8, "newer than 1.32"),
    ],
)
def test_the_newer_of_opset_and_ir_version_decides(opset, ir_version, release):
    assert oldest_runtime(model(opset, ir_version)) == release


def test_the_opset_of_classical_models_counts():
    assert oldest_runtime(model(15, 8, **{"ai.onnx.ml": 3})) == "1.12"


@pytest.mark.parametrize(
    ("op", "bits", "release"),
    [
        ("MatMulNBits", None, "1.17"), ("MatMulNBits", 8, "1.22"), ("MatMulNBits", 2, "1.24"), ("FusedGelu", None, "1.9"),
        ("GatherBlockQuantized", None, "1.20"), ("GatherBlockQuantized", 4, "1.23"), ("GatherBlockQuantized", 8, "1.23"),
        ("GatherBlockQuantized", 2, "1.27"),
    ],
)  # fmt: skip
def test_young_ops_of_the_runtime_count(op, bits, release):
    attributes = [] if bits is None else [ir.AttrInt64("bits", bits)]
    node = ir.Node("com.microsoft", op, [], attributes, num_outputs=1)
    assert oldest_runtime(model(15, 8, node, **{"com.microsoft": 1})) == release


def test_every_release_loads_what_the_one_before_did():
    for before, after in itertools.pairwise(_RELEASES):
        assert before.version < after.version
        assert all(old <= new for old, new in zip(before[1:], after[1:], strict=True))


def test_the_installed_runtime_keeps_the_promise():
    """The newest opset and IR version of the row that the installed release stands in do load."""
    installed = tuple(int(part) for part in ort.__version__.split(".")[:2])
    row = [release for release in _RELEASES if release.version <= installed][-1]
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    node = ir.node("Relu", [x])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", x.type, x.shape
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": row.opset, "ai.onnx.ml": row.ml}, name="g")
    data = ir.to_proto(ir.Model(graph, ir_version=row.ir_version)).SerializeToString()
    assert ort.InferenceSession(data, providers=["CPUExecutionProvider"]).get_outputs()[0].name == "y"


def test_a_release_that_lacks_something_is_told_what():
    check_loads_in(model(21, 10), "1.18")
    check_loads_in(model(21, 10), "1.23.2")
    with pytest.raises(UnsupportedError, match=r"opset 21; onnxruntime 1\.17 loads at most 20"):
        check_loads_in(model(21, 8), "1.17")
    with pytest.raises(UnsupportedError, match=r"IR version 10; onnxruntime 1\.15\.1 loads at most 9"):
        check_loads_in(model(17, 10), "1.15.1")
    node = ir.Node("com.microsoft", "MatMulNBits", [], [ir.AttrInt64("bits", 8)], num_outputs=1, name="head")
    with pytest.raises(UnsupportedError, match=r"head: MatMulNBits needs onnxruntime 1\.22; 1\.21 was asked for"):
        check_loads_in(model(15, 8, node, **{"com.microsoft": 1}), "1.21")


@pytest.mark.parametrize("version", ["newest", "1", "0.9", "1.23.x", 1.23])
def test_what_is_no_release_is_refused(version):
    with pytest.raises(UsageError):
        check_loads_in(model(17, 8), version)


@pytest.mark.parametrize("release", _RELEASES)
def test_what_a_release_loads_agrees_with_the_oldest_runtime(release):
    wanted = "{}.{}".format(*release.version)
    newest = model(release.opset, release.ir_version)
    check_loads_in(newest, wanted)
    assert oldest_runtime(newest) == wanted
