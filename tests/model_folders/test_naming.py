"""Names with a suffix, and what they are variants of."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.model_folders.naming import add_suffix, find_base

MODELS = [
    "onnx/model.onnx",
    "onnx/model_fp16.onnx",
    "onnx/decoder_model.onnx",
    "onnx/decoder_model_merged.onnx",
    "model_int8.onnx",
]


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("onnx/model_fp16.onnx", "onnx/model.onnx"),
        ("onnx/model_qint8_avx512_vnni.onnx", "onnx/model.onnx"),
        ("onnx/model_O3.onnx", "onnx/model.onnx"),
        ("onnx/decoder_model_merged.onnx", None),
        ("onnx/decoder_model_merged_q4f16.onnx", "onnx/decoder_model_merged.onnx"),
        ("model_int8.onnx", None),
        ("onnx/model.onnx", None),
    ],
)
def test_a_variant_has_the_name_of_its_base_and_a_precision(path, base):
    assert find_base(path, [*MODELS, path]) == base


def test_what_a_suffix_makes_is_found_again_where_it_is_a_precision():
    for suffix in ("int8", "fp16", "q4"):
        assert find_base(add_suffix("a/model.onnx", suffix), ["a/model.onnx"]) == "a/model.onnx"
    with pytest.raises(UsageError, match="letters and digits"):
        add_suffix("model.onnx", "a/b")
