"""Triton's repositories: versions, and a configuration that must be true."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_folders.model_folder import open_model_folder
from tests.support.folder_models import make_image_classifier
from tests.support.model_folders import make_folder, save


def change(folder, old, new):
    path = folder / "classifier/config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"pixel_values"', '"images"', "input 'images' is not among the model's, which are pixel_values"),
        ("TYPE_FP32 dims: [ 3,", "TYPE_FP16 dims: [ 3,", "is float16, and the model's float"),
        ("dims: [ 4 ]", "dims: [ 10 ]", r"has dims \[10\] and a batch"),
        ("dims: [ 4 ]", "dims: [ 4 ] reshape: { shape: [ 5 ] }", r"has dims \[5\] and a batch"),
        ("max_batch_size: 8", "max_batch_size: 0", r"has dims \[3, 16, 16\], and the model's"),
        ("name:", "{", "line 1"),
        ('name: "classifier"', 'default_model_filename: "../../../model.onnx"', "outside the folder"),
    ],
)
def test_a_configuration_that_contradicts_its_model_is_refused(old, new, words, tmp_path):
    folder = make_folder("triton", tmp_path)
    change(folder, old, new)
    with pytest.raises(InvalidModelError, match=words) as caught:
        open_model_folder(folder)
    assert "config.pbtxt" in caught.value.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dims: [ 4 ]", "dims: [ 2, 2 ] reshape: { shape: [ 4 ] }"),
        ("dims: [ 4 ]", "dims: [ 1, 4 ] reshape: { shape: [ ] }"),
        ("dims: [ 4 ]", "dims: [ --4, { } ] reshape: [ ]"),
        ("data_type: TYPE_FP32 dims: [ 4 ]", "data_type: [ ] dims: [ 4 ]"),
        ('name: "logits"', "name: { a: 1 }"),
    ],
)
def test_what_clients_send_in_another_shape_and_what_says_nothing_are_no_contradiction(old, new, tmp_path):
    folder = make_folder("triton", tmp_path)
    change(folder, old, new)
    assert len(open_model_folder(folder).members) == 2


def test_the_file_that_a_version_serves_can_have_another_name(tmp_path):
    folder = make_folder("triton", tmp_path)
    change(folder, "max_batch_size: 8", 'max_batch_size: 8 default_model_filename: "net.onnx"')
    save(make_image_classifier(), folder / "classifier/2/net.onnx")
    roles = {member.path: member.role for member in open_model_folder(folder).members}
    assert roles["classifier/2/net.onnx"] == "classifier version 2"
    assert roles["classifier/2/model.onnx"] == "classifier/2/model"


def test_one_model_is_a_repository_too(tmp_path):
    folder = make_folder("triton", tmp_path) / "classifier"
    opened = open_model_folder(folder)
    assert opened.layout.NAME == "Triton"
    assert [member.role for member in opened.members] == ["model version 1", "model version 2"]
