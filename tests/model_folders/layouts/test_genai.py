"""onnxruntime-genai's configuration: the files that it names, and their inputs and outputs."""

from __future__ import annotations

import json

import pytest

from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.model_folders.model_folder import open_model_folder
from tests.support.model_folders import make_folder


def change(folder, **decoder):
    path = folder / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["decoder"] |= decoder
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        ({"filename": "gone.onnx"}, "names 'gone.onnx', which is not there; there is model.onnx"),
        ({"filename": "/etc/passwd"}, "a path relative"),
        ({"filename": 3}, "a path relative"),
        ({"inputs": {"input_ids": "tokens"}}, r"inputs\.input_ids is 'tokens', and the model has"),
        ({"outputs": {"logits": "scores"}}, r"outputs\.logits is 'scores'"),
    ],
)
def test_what_the_configuration_names_is_there(decoder, words, tmp_path):
    folder = make_folder("genai", tmp_path)
    change(folder, **decoder)
    with pytest.raises(InvalidModelError, match=words):
        open_model_folder(folder)


def test_one_file_is_not_two_parts(tmp_path):
    folder = make_folder("genai", tmp_path)
    path = folder / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["embedding"] = {"filename": "model.onnx"}
    path.write_text(json.dumps(config))
    with pytest.raises(UsageError, match="decoder and embedding are both model"):
        open_model_folder(folder)
