"""What a folder of models is made of: groups by shared data, and configurations of inputs."""

from __future__ import annotations

from onnxslim.core.errors import GateError
from onnxslim.model_folders.model_folder import name_in_error, open_model_folder
from tests.support.folder_models import make_text_encoder
from tests.support.model_folders import make_folder, save, write_tokenizer


def test_models_are_grouped_by_the_data_files_that_they_share(tmp_path):
    root = make_folder("shared_data", tmp_path)
    save(make_text_encoder(), root / "c.onnx")
    save(make_text_encoder(hidden=32), root / "d.onnx", "d.bin")
    folder = open_model_folder(root)
    groups = folder.group_by_data(folder.members)
    assert [([member.path for member in group.members], group.data_files) for group in groups] == [
        (["a.onnx", "b.onnx"], ("weights.bin",)), (["c.onnx"], ()), (["d.onnx"], ("d.bin",)),
    ]  # fmt: skip


def test_a_data_file_with_two_names_is_one(tmp_path):
    save(make_text_encoder(hidden=64), tmp_path / "a.onnx", "a.bin")
    (tmp_path / "b.bin").symlink_to("a.bin")
    (tmp_path / "b.onnx").write_bytes((tmp_path / "a.onnx").read_bytes().replace(b"a.bin", b"b.bin"))
    folder = open_model_folder(tmp_path)
    (group,) = folder.group_by_data(folder.members)
    assert group.data_files == ("a.bin",)


def test_inputs_are_made_as_the_nearest_configuration_says(tmp_path):
    root = make_folder("transformers_js", tmp_path)
    save(make_text_encoder(), root / "other/deep/model.onnx")
    write_tokenizer(root / "other")
    folder = open_model_folder(root)
    found = {member.path: folder.find_input_configs(member) for member in folder.members}
    assert found["onnx/model.onnx"] == str(root)
    assert found["other/deep/model.onnx"] == str(root / "other")
    plain = open_model_folder(make_folder("two_unrelated", tmp_path))
    assert plain.find_input_configs(plain.members[0]) == plain.files.root


def test_an_error_is_named_once_and_keeps_what_was_measured():
    error = GateError("too slow", hint="more time")
    error.result = "figures"
    named = name_in_error(name_in_error(error, "a.onnx"), "a.onnx")
    assert (type(named), named.message, named.hint, named.result) == (GateError, "a.onnx: too slow", "more time", "figures")
