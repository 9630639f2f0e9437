"""From the data of an encoder to those of its decoders."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.data.sources import open_samples
from onnxslim.model_folders.pipelines import preparation
from onnxslim.model_folders.pipelines.preparation import check_start, prepare_pipeline
from onnxslim.model_folders.pipelines.special_tokens import SpecialTokens
from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.runtime.session_config import SessionConfig
from tests.support.folder_models import WORDS
from tests.support.pipelines import open_pipeline

ENCODER, DECODER = "onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"
SPECIAL = SpecialTokens((2,), frozenset(), "config.json: decoder_start_token_id")


def prepare(opened, splits):
    return prepare_pipeline(opened.pipeline, opened.models, splits, SPECIAL, SessionConfig(), 0)


def test_every_file_is_fed_and_what_judges_is_none_of_what_fits(tmp_path):
    opened = open_pipeline("decoder_with_past", tmp_path)
    splits = DataSplits(fit=opened.make_samples(5), confirm=opened.make_samples(3, seed=1))
    found = prepare(opened, splits)
    assert {*found.fit} == {*found.confirm} == {"decoder_model.onnx", "decoder_with_past_model.onnx"}
    assert len(list(found.fit["decoder_model.onnx"])) == 5
    assert len(found.composition.texts.tokens) == 3
    assert {len(tokens) for tokens in found.composition.texts.tokens} == {33}
    alone = prepare(opened, dataclasses.replace(splits, confirm=None))
    assert (alone.composition, alone.confirm) == (None, {})


def test_so_many_inputs_are_drawn_as_there_is_time_for(tmp_path, monkeypatch):
    opened = open_pipeline("encoder_decoder", tmp_path)
    monkeypatch.setattr(preparation, "_MAX_MACS", 1)
    found = prepare(opened, DataSplits(fit=opened.make_samples(12)))
    assert len(list(found.fit["decoder_model.onnx"])) == 8


@pytest.mark.parametrize(("length", "count"), [(8, 12), (1000, 8)])
def test_what_an_input_costs_is_told_by_the_data_where_its_length_is_free(length, count, tmp_path, monkeypatch):
    opened = open_pipeline("encoder_and_merged_decoder", tmp_path)
    ids = np.random.default_rng(0).integers(4, len(WORDS), (12, length))
    samples = open_samples({"input_ids": ids, "attention_mask": np.ones_like(ids)}, opened.models[ENCODER])
    monkeypatch.setattr(preparation, "_MAX_MACS", 12 * 200_000)  # a token of the encoder 2 048, a text 167 936
    assert len(list(prepare(opened, DataSplits(fit=samples)).fit[DECODER])) == count


def test_a_start_that_the_decoder_does_not_know_contradicts_it(tmp_path):
    opened = open_pipeline("encoder_and_merged_decoder", tmp_path)
    with pytest.raises(InvalidModelError, match=r"config\.json.*begin with token 50257.*looks up one of 23 rows"):
        check_start(opened.pipeline, dataclasses.replace(SPECIAL, start=(50257,)))
