"""The hub's layout: roles by names, and a configuration that must be true."""

from __future__ import annotations

import json

import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_folders.model_folder import open_model_folder
from tests.support.folder_models import make_image_classifier
from tests.support.model_folders import make_folder, save


def test_labels_and_logits_are_as_many(tmp_path):
    folder = make_folder("image_classifier", tmp_path)
    save(make_image_classifier(classes=7), folder / "model.onnx")
    with pytest.raises(InvalidModelError, match="it has 4 labels, and 'logits' 7 columns"):
        open_model_folder(folder)


def test_models_in_other_folders_are_called_by_them(tmp_path):
    folder = make_folder("text_encoder", tmp_path)
    save(make_image_classifier(), folder / "vision/model.onnx")
    roles = {member.path: member.role for member in open_model_folder(folder).members}
    assert roles == {"model.onnx": "model", "vision/model.onnx": "vision/model"}


@pytest.mark.parametrize("content", ["", "{", "[1]", json.dumps("text"), "\udcff"])
def test_a_broken_configuration_is_named(content, tmp_path):
    folder = make_folder("text_encoder", tmp_path)
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InvalidModelError, match=r"config\.json"):
        open_model_folder(folder)
