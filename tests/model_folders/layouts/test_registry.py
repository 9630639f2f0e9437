"""Which layout a folder has, and what each file in it is for."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.model_folders.model_folder import open_model_folder
from tests.support.model_folders import make_folder

#: Layout and roles, of the folders that can be opened.
EXPECTED = {
    "text_encoder": ("Hugging Face", ["model"]),
    "encoder_decoder": ("Hugging Face", ["decoder_model", "encoder_model"]),
    "merged_decoder": ("Hugging Face", ["decoder_model_merged"]),
    "transformers_js": ("Hugging Face", ["model", "model_fp16", "model_q4f16", "model_quantized"]),
    "genai": ("onnxruntime-genai", ["decoder"]),
    "triton": ("Triton", ["classifier version 1", "classifier version 2"]),
    "sentence_transformers": ("sentence-transformers", ["model"]),
    "hub_cache": ("Hugging Face", ["model"]),
    "links": ("plain", ["versions/v1/model"]),
    "two_unrelated": ("plain", ["faces", "texts"]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_folder_is_recognized_by_its_files(name, tmp_path):
    folder = open_model_folder(make_folder(name, tmp_path))
    assert (folder.layout.NAME, [member.role for member in folder.members]) == EXPECTED[name]


def test_precisions_of_one_model_are_variants_of_it(tmp_path):
    folder = open_model_folder(make_folder("transformers_js", tmp_path))
    assert {m.path: m.variant_of for m in folder.members if m.variant_of} == {
        f"onnx/model_{suffix}.onnx": "onnx/model.onnx" for suffix in ("fp16", "q4f16", "quantized")
    }


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("empty", UsageError, "no ONNX file"),
        ("two_candidates", UsageError, "model.onnx and onnx/model.onnx are both the model"),
        ("contradicting", InvalidModelError, "vocab_size is 30522"),
        ("leading_outside", InvalidModelError, "outside the folder"),
        ("broken", InvalidModelError, "bad.onnx"),
    ],
)
def test_what_no_loader_could_tell_is_refused_with_the_file(name, error, words, tmp_path):
    folder = make_folder(name, tmp_path)
    with pytest.raises(error, match=words) as caught:
        open_model_folder(folder)
    assert str(folder) in caught.value.message
