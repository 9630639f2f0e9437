"""Models written to files: where the tensors go, and what is never lost on the way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.model_io import model_file
from tests.support.protos import FLOAT, proto, run, weights


def test_a_new_file_has_the_usual_permissions_and_an_old_one_keeps_its_own(tmp_path):
    path = tmp_path / "model.onnx"
    old = os.umask(0o027)
    try:
        model_file.save(model_file.load(proto()), path, external_data=True)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o640}
    path.chmod(0o604)
    model_file.save(model_file.load(proto(fill=2)), path, external_data=True)
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o604}


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.onnx"
    link.symlink_to("real/model.onnx")
    for fill in (1, 2):  # a link to nothing makes the file, then it is replaced
        model_file.save(model_file.load(proto(fill=fill)), link)
        assert link.is_symlink()
        assert weights(model_file.load(tmp_path / "real" / "model.onnx"))[0] == fill
    with pytest.raises(UsageError, match="another folder"):
        model_file.save(model_file.load(proto()), link, external_data=True)


def test_a_shared_cache_is_not_written_to(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save(proto(), blobs / "0a1b", format="protobuf")
    (snapshot / "model.onnx").symlink_to("../../blobs/0a1b")
    with pytest.raises(UsageError, match="shared"):
        model_file.save(model_file.load(snapshot / "model.onnx"), snapshot / "model.onnx")


@pytest.mark.parametrize("target", ["folder", "pipe", "/dev/null", "missing/model.onnx"])
def test_what_is_not_a_file_is_not_replaced(target, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError):
        model_file.save(model_file.load(proto()), tmp_path / target)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


@pytest.mark.parametrize("name", ["zero\0.onnx", "half\ud800.onnx"])
def test_what_is_no_name_is_a_wrong_call(name):
    model = model_file.load(proto())
    for call in (model_file.size_on_disk, model_file.find_data_files, lambda path: model_file.save(model, path)):
        with pytest.raises(UsageError, match="expected the name of a file"):
            call(name)


@pytest.mark.parametrize("error", [ValueError("of the check"), KeyError("of the check")])
def test_a_fault_of_the_check_is_no_wrong_call_and_nothing_is_written(error, tmp_path):
    def check(path):
        assert os.path.exists(path)
        raise error

    with pytest.raises(type(error), match="of the check"):
        model_file.save(model_file.load(proto()), tmp_path / "model.onnx", external_data=True, check=check)
    assert os.listdir(tmp_path) == []


def test_a_relative_path_is_where_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model_file.save(model_file.load(proto()), "model.onnx", external_data=True)
    assert weights(model_file.load("model.onnx")).sum() == 2048


@pytest.mark.parametrize("external", [True, False, None])
def test_the_runtime_reads_what_was_written(external, tmp_path):
    path = tmp_path / "model.onnx"
    model_file.save(model_file.load(proto(fill=3)), path, external_data=external)
    assert len(os.listdir(tmp_path)) == (2 if external else 1)
    assert (run(path) == 3).all()


def test_size_decides_where_the_tensors_go(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "INLINE_LIMIT", 8191)
    model_file.save(model_file.load(proto()), tmp_path / "model.onnx")
    assert len(os.listdir(tmp_path)) == 2
    monkeypatch.setattr(model_file, "INLINE_LIMIT", 8192)
    model_file.save(model_file.load(tmp_path / "model.onnx"), tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == ["model.onnx"]


@pytest.mark.parametrize(("limit", "files"), [(8192, 2), (8193, 1)])
def test_a_large_model_reaches_the_runtime_with_its_tensors_beside_it(limit, files, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "MAPPED_LIMIT", limit)
    path = model_file.save_for_runtime(model_file.load(proto(fill=3)), str(tmp_path))
    assert len(os.listdir(tmp_path)) == files
    assert (run(path) == 3).all()


def test_data_are_named_by_their_content_and_small_tensors_stay_inside(tmp_path):
    model = proto()
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "small"))
    model_file.save(model_file.load(model), tmp_path / "a.onnx", external_data=True)
    model_file.save(model_file.load(model), tmp_path / "b.onnx", external_data=True)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    back = onnx.load(tmp_path / "a.onnx", load_external_data=False)
    assert [tensor.data_location for tensor in back.graph.initializer] == [TensorProto.EXTERNAL, TensorProto.DEFAULT]
    entries = {entry.key: entry.value for entry in back.graph.initializer[0].external_data}
    assert (tmp_path / entries["location"]).stat().st_size == 8192
    assert len(list(tmp_path.iterdir())) == 3


def test_nothing_large_enough_leaves_one_file(tmp_path):
    model_file.save(model_file.load(proto(size=4)), tmp_path / "model.onnx", external_data=True)
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_shared_tensor_is_stored_once_and_every_tensor_begins_at_a_cache_line(tmp_path):
    model = model_file.load(proto(size=301))
    for name, array in (("odd", np.ones(257, np.float32)), ("even", np.zeros(300, np.float32))):
        model.graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(array, name=name)))
    model.graph.register_initializer(ir.Value(name="twin", const_value=model.graph.initializers["odd"].const_value))
    model_file.save(model, tmp_path / "model.onnx", external_data=True)
    back = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    places = {t.name: {e.key: e.value for e in t.external_data} for t in back.graph.initializer}
    assert [places[name]["offset"] for name in ("w", "odd", "even", "twin")] == ["0", "1216", "2304", "1216"]
    assert weights(model_file.load(tmp_path / "model.onnx")).sum() == 301


def test_a_model_is_saved_over_the_one_it_was_loaded_from(tmp_path):
    path = tmp_path / "model.onnx"
    model_file.save(model_file.load(proto(fill=1)), path, external_data=True)
    model = model_file.load(path)
    doubled = ir.LazyTensor(
        lambda: ir.tensor(weights(model_file.load(path)) * 2), ir.DataType.FLOAT, ir.Shape([2048]), name="w"
    )
    edited = model_file.clone(model)
    edited.graph.initializers["w"].const_value = doubled
    model_file.save(edited, path, external_data=True)
    assert len(os.listdir(tmp_path)) == 2, "the old data are gone"
    assert weights(model_file.load(path))[0] == 2
    assert weights(model)[0] == 1, "the old model still reads what it was loaded with"
    model_file.save(model, path, external_data=False)
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert weights(model_file.load(path))[0] == 1


def test_data_that_another_model_refers_to_are_kept(tmp_path):
    path = tmp_path / "model.onnx"
    model_file.save(model_file.load(proto(fill=1)), path, external_data=True)
    (tmp_path / "backup").write_bytes(path.read_bytes())
    (tmp_path / "notes.txt").write_text("nothing to see")
    model_file.save(model_file.load(proto(fill=2)), path, external_data=True)
    assert weights(model_file.load(tmp_path / "backup"))[0] == 1
    assert weights(model_file.load(path))[0] == 2


def test_data_of_others_are_never_removed(beside):
    model_file.save(model_file.load(beside), beside, external_data=True)
    assert (beside.parent / "model.onnx.data").exists()
    assert run(beside)[0, 0] == 1


def test_a_model_with_data_can_be_saved_into_another_folder(beside, tmp_path):
    for name, external in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        model_file.save(model_file.load(beside), tmp_path / name / "model.onnx", external_data=external)
        assert (run(tmp_path / name / "model.onnx") == 1).all()


def test_data_that_cannot_be_removed_are_removed_next_time(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    model_file.save(model_file.load(proto(fill=1)), path, external_data=True)
    real = os.unlink

    def stubborn(target: str) -> None:
        if target.endswith(".data"):
            raise OSError(5, "Input/output error")
        real(target)

    monkeypatch.setattr(os, "unlink", stubborn)
    model_file.save(model_file.load(proto(fill=2)), path, external_data=True)
    monkeypatch.undo()
    assert len([name for name in os.listdir(tmp_path) if name.endswith(".data")]) == 2
    model_file.save(model_file.load(proto(fill=3)), path, external_data=True)
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_weights_beside_the_model_are_arrays_of_their_type(dtype, tmp_path):
    model = model_file.load(proto())
    model.graph.initializers["w"].const_value = ir.tensor(np.ones(2048, dtype), name="w")
    model_file.save(model, tmp_path / "model.onnx", external_data=True)
    assert weights(ir.load(tmp_path / "model.onnx")).dtype == dtype


@pytest.mark.nightly
def test_two_gigabytes_of_data_cost_no_memory(tmp_path):
    """2.4 GB in a file of holes: opened, walked once with release, under 300 MB."""
    path, count = tmp_path / "model.onnx", 24
    tensors = []
    for number in range(count):
        tensor = TensorProto(name=f"w{number}", data_type=FLOAT, dims=[25_000_000], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "w.bin"), ("offset", number * 100_000_000), ("length", 100_000_000)):
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    nodes = [helper.make_node("Sum", ["x", *(tensor.name for tensor in tensors)], ["y"])]
    values = [helper.make_tensor_value_info(name, FLOAT, [25_000_000]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(count * 100_000_000)
    code = """
import sys
from onnxslim.model_io import model_file
from onnxslim.model_io.external_data import data_reader
model = model_file.load(sys.argv[1])
for value in model.graph.initializers.values():
    assert value.const_value.numpy().sum() == 0
    data_reader.release(value.const_value)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(told.stdout) * 1024 < 300e6


def test_large_initializers_are_handed_over_beside_the_bytes() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[300] x, float[300] given) => (float[300] y) '
        "{ a = Add (x, big) b = Add (a, given) c = Cast <to = 1> (odd) d = Add (b, c) y = Add (d, small) }"
    )
    ones = np.ones(300, np.float32)
    proto.graph.initializer.extend(numpy_helper.from_array(ones, name) for name in ("big", "given"))
    proto.graph.initializer.append(numpy_helper.from_array(ones[:1], "small"))
    proto.graph.initializer.append(onnx.helper.make_tensor("odd", onnx.TensorProto.BFLOAT16, [300], ones))
    model = model_file.load(proto)
    before = model_file.to_bytes(model)
    content, large = model_file.to_bytes_without_weights(model, 100)
    assert list(large) == ["big"]  # a caller may replace `given`, numpy does not know bfloat16, the other is small
    assert len(content) < len(before) - ones.nbytes + 100
    np.testing.assert_array_equal(large["big"].numpy(), ones)
    assert model_file.to_bytes(model) == before


def test_an_output_that_nothing_makes_is_not_written(tmp_path):
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    lost = ir.Value(name="lost", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    node = ir.node("Relu", [x])
    node.outputs[0].name = "y"
    graph = ir.Graph([x], [lost], nodes=[node], opset_imports={"": 17}, name="g")
    with pytest.raises(InvalidModelError):
        model_file.save(ir.Model(graph, ir_version=8), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
