"""A folder without a convention."""

from __future__ import annotations

from onnxslim.model_folders.model_folder import open_model_folder
from tests.support.folder_models import make_image_classifier
from tests.support.model_folders import save


def test_every_file_is_a_model_by_its_path_and_no_two_are_alike(tmp_path):
    for path in ("a/net.onnx", "b/net.onnx", "net.ONNX", "net.txt"):
        save(make_image_classifier(), tmp_path / path)
    members = open_model_folder(tmp_path).members
    assert [member.path for member in members] == ["a/net.onnx", "b/net.onnx", "net.ONNX"]
    assert len({member.role for member in members}) == 3
