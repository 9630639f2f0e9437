"""What the originals write, and what decoders are fed with meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.model_folders.pipelines.served_texts import TEXT_KEY, ServedRuns, ServedTexts, pick_token, write_text
from onnxslim.model_folders.pipelines.special_tokens import SpecialTokens
from tests.support.pipelines import CACHED, open_pipeline


@pytest.mark.parametrize("name", ["encoder_decoder", *CACHED])
def test_a_text_is_the_likeliest_token_after_the_other_until_one_ends_it(name, tmp_path):
    opened = open_pipeline(name, tmp_path)
    (decoder,), server = opened.pipeline.decoders, opened.server
    encoded = server.encode(next(opened.make_samples(1).batches(1)))
    text = write_text(server, decoder, encoded, SpecialTokens((2, 4), frozenset(), None), 6)
    assert text[:2].tolist() == [2, 4]
    assert len(text) == 8
    for place in range(2, 8):
        assert text[place] == pick_token(next(server.go_on(decoder, encoded, text[:place])))
    end = int(text[4])
    shorter = write_text(server, decoder, encoded, SpecialTokens((2, 4), frozenset([end]), None), 6)
    assert shorter.tolist() == text[: 1 + text.tolist().index(end, 2)].tolist()


def test_nothing_is_likelier_than_what_is_no_number():
    assert pick_token(np.array([np.nan, -3.0, -1.0])) == 2


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("encoder_decoder", {"encoder_attention_mask", "encoder_hidden_states", "input_ids"}),
        ("encoder_and_merged_decoder", {"encoder_hidden_states", "input_ids"}),
    ],
)
def test_a_decoder_is_fed_whole_texts(name, keys, tmp_path):
    opened = open_pipeline(name, tmp_path)
    tokens = [np.arange(n) for n in (3, 5)]
    texts = ServedTexts(opened.server, opened.make_samples(2), tokens)
    (decoder,) = opened.pipeline.decoders
    runs = ServedRuns(texts, decoder, decoder.first)
    for _ in range(2):  # as often as it is asked
        found = list(runs)
        assert [run["input_ids"][0].tolist() for run in found] == [one.tolist() for one in tokens]
        assert {*found[0]} == keys | {TEXT_KEY}
    assert runs.has_state == (name != "encoder_decoder")


def test_a_file_for_further_tokens_is_fed_some_steps_of_each_text(tmp_path):
    opened = open_pipeline("decoder_with_past", tmp_path)
    texts = ServedTexts(opened.server, opened.make_samples(2), [np.arange(9), np.arange(2)])
    (decoder,) = opened.pipeline.decoders
    runs = list(ServedRuns(texts, decoder, decoder.step))
    assert [int(run[TEXT_KEY]) for run in runs] == [0, 0, 0, 0, 1]
    assert [run["past_key_values.0.key"].shape[2] for run in runs] == [1, 3, 5, 8, 1]
    assert {*runs[0]} == {i.name for i in decoder.step.inputs} | {TEXT_KEY}
