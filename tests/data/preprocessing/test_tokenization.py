"""Texts as ids: what the tokenizer gives, cut where the files beside it say."""

from __future__ import annotations

import json

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.model_inputs import get_model_inputs
from onnxslim.data.preprocessing.tokenization import load_text_encoder
from tests.support.folder_models import WORDS, make_text_encoder
from tests.support.model_folders import write_tokenizer

tokenizers = pytest.importorskip("tokenizers")

LONG = " ".join(WORDS[4:54])


def load(folder, **options):
    inputs = get_model_inputs(ir.from_proto(make_text_encoder(**options)))
    return load_text_encoder(folder, inputs, [i.name for i in inputs])


def test_ids_are_the_tokenizers_own_and_nothing_is_padded(tmp_path):
    write_tokenizer(tmp_path)
    texts = ["word1 word2", "word3", ("word4 word5", "word6")]
    samples = load(tmp_path).encode(texts)
    own = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text, sample in zip(texts, samples, strict=True):
        pair = text if isinstance(text, tuple) else (text,)
        assert sample["input_ids"].tolist() == own.encode(*pair).ids
        assert sample["attention_mask"].tolist() == [1] * len(sample["input_ids"])
        assert sample["input_ids"].dtype == np.int64


@pytest.mark.parametrize(
    ("files", "length"),
    [
        ({}, 52),
        ({"tokenizer_config.json": {"model_max_length": 20}}, 20),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 52),
        ({"tokenizer_config.json": {"model_max_length": 20}, "sentence_bert_config.json": {"max_seq_length": 10}}, 10),
        ({"config.json": {"max_position_embeddings": 30}}, 30),
        ({"config.json": {"max_position_embeddings": 30, "model_type": "roberta", "pad_token_id": 1}}, 28),
        ({"config.json": {"max_position_embeddings": "many"}}, 52),
    ],
)
def test_a_text_is_cut_at_the_least_length_that_anything_says(files, length, tmp_path):
    write_tokenizer(tmp_path, max_length=10**12)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert len(load(tmp_path).encode([LONG])[0]["input_ids"]) == length


def test_a_model_of_a_fixed_length_gets_padding_that_its_mask_leaves_out(tmp_path):
    write_tokenizer(tmp_path)
    short, long = load(tmp_path, tokens=12).encode(["word1 word2", LONG])
    assert short["input_ids"].tolist() == [2, 5, 6, 3, *[0] * 8]
    assert short["attention_mask"].tolist() == [1] * 4 + [0] * 8
    assert long["input_ids"].shape == (12,)


def test_the_tokenizer_of_another_model_is_told(tmp_path):
    write_tokenizer(tmp_path)
    with pytest.raises(InvalidDataError, match=r"gives 'input_ids' 33, and the model looks up one of 20 rows"):
        load(tmp_path, words=20).encode([LONG])


def test_a_tokenizer_that_has_no_id_for_a_word_is_named(tmp_path):
    write_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"unk_token": "[UNK]"', '"unk_token": "[NONE]"'))
    with pytest.raises(InvalidDataError, match=r"tokenizer\.json: makes no ids"):
        load(tmp_path).encode(["nobodysword"])


def test_what_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no tokenizer\.json"):
        load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidDataError, match="not a tokenizer"):
        load(tmp_path)
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InvalidDataError, match=r"tokenizer_config\.json: not JSON"):
        load(tmp_path)


def test_an_input_that_no_tokenizer_makes_is_named(tmp_path):
    write_tokenizer(tmp_path)
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (int64[b,s] input_ids, float[b,3] extra) => (float[b,3] y) {y = Identity(extra)}"""
    inputs = get_model_inputs(ir.from_onnx_text(text))
    with pytest.raises(InvalidDataError, match="the model takes 'extra', which no tokenizer makes"):
        load_text_encoder(tmp_path, inputs, [i.name for i in inputs])
