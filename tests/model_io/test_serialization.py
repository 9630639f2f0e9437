"""Models written as bytes: what goes in comes out, whole and no larger."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import InvalidModelError, LimitError
from onnxslim.model_io import model_file
from tests.support.protos import proto, same

LIGHT = sorted(glob.glob(os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light/*.onnx")))


@pytest.mark.parametrize("path", LIGHT, ids=os.path.basename)
def test_a_model_of_the_onnx_package_comes_back(path):
    before = onnx.load(path)
    after = onnx.load_from_string(model_file.to_bytes(model_file.load(path)))
    assert same(before, after)


def test_a_model_of_the_zoo_comes_back_and_never_larger(zoo, tmp_path):
    for path in sorted(zoo.glob("*.onnx")):
        model_file.save(model_file.load(path), tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx").stat().st_size <= path.stat().st_size, path.name
        assert same(onnx.load(path), onnx.load(tmp_path / "out.onnx")), path.name


@pytest.mark.nightly
def test_every_case_of_onnx_comes_back_and_never_larger():
    from onnx.backend.test.case.node import collect_testcases

    cases = [case for case in collect_testcases(None) if case.model is not None and case.model.opset_import[0].version >= 7]
    assert len(cases) > 1500
    for case in cases:
        data = model_file.to_bytes(model_file.load(case.model))
        assert same(onnx.load_from_string(data), case.model), case.name
        assert len(data) <= case.model.ByteSize(), case.name


def test_the_same_model_gives_the_same_bytes_whatever_the_hash_seed(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(proto(), path)
    code = (
        "import sys; from onnxslim.model_io.model_file import load, to_bytes\n"
        "sys.stdout.buffer.write(to_bytes(load(sys.argv[1])))"
    )
    told = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(path)]
        told.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert told == {model_file.to_bytes(model_file.load(path))}


def test_to_bytes_has_the_tensors_inside(beside):
    for model in (model_file.load(beside), ir.load(beside)):
        back = onnx.load_from_string(model_file.to_bytes(model))
        assert numpy_helper.to_array(back.graph.initializer[0]).sum() == 2048


def test_a_tensor_that_two_values_share_is_written_under_both_names():
    model = model_file.load(proto())
    shared = model.graph.initializers["w"].const_value
    for kind in (shared, ir.tensor(np.ones(2048, np.float32), name="other")):
        model.graph.initializers["w"].const_value = kind
        twin = ir.Value(name="twin", const_value=kind)
        model.graph.initializers.pop("twin", None)
        model.graph.register_initializer(twin)
        back = onnx.load_from_string(model_file.to_bytes(model))
        assert [tensor.name for tensor in back.graph.initializer] == ["w", "twin"]
    assert (shared.name, kind.name) == ("w", "other")


def test_strings_and_the_metadata_of_tensors_come_back_once():
    model = proto()
    words = helper.make_tensor("words", TensorProto.STRING, [2], [b"a", b"bc"])
    words.metadata_props.add(key="from", value="a file")
    numbers = numpy_helper.from_array(np.ones(2, np.float32), "numbers")
    numbers.metadata_props.add(key="from", value="a file")
    model.graph.initializer.extend([words, numbers])
    model.graph.node.add(op_type="Constant", output=["k"]).attribute.add(name="value", type=4).t.CopyFrom(numbers)
    loaded = model_file.load(model)
    assert same(onnx.load_from_string(model_file.to_bytes(loaded)), model)
    loaded.graph.initializers["words"].name = "renamed"
    assert [t.name for t in onnx.load_from_string(model_file.to_bytes(loaded)).graph.initializer] == [
        "w",
        "numbers",
        "renamed",
    ]


def test_more_than_a_message_holds_is_a_limit(tmp_path):
    model = model_file.load(proto())
    never: Callable[[], ir.TensorProtocol] = lambda: pytest.fail("three gigabytes were made")  # noqa: E731
    model.graph.initializers["w"].const_value = ir.LazyTensor(never, ir.DataType.FLOAT, ir.Shape([3, 2**28]), name="w")
    for write in (model_file.to_bytes, lambda model: model_file.save(model, tmp_path / "out.onnx", external_data=False)):
        with pytest.raises(LimitError, match=r"3\.2 GB"):
            write(model)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("spoil", ["no value", "cycle", "type"])
def test_a_model_that_cannot_be_written_leaves_the_old_file(spoil, tmp_path):
    path = tmp_path / "model.onnx"
    model_file.save(model_file.load(proto()), path)
    before = path.read_bytes()
    model = model_file.load(path)
    if spoil == "no value":
        model.graph.initializers["w"].const_value = None
    elif spoil == "cycle":
        model.graph[0].replace_input_with(0, model.graph[1].outputs[0])
    else:
        model.graph[0].attributes.add(ir.Attr("odd", ir.AttributeType.UNDEFINED, None))
    with pytest.raises(InvalidModelError, match=r"model\.onnx"):
        model_file.save(model, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.onnx"]
