"""Serving token by token against one run of the whole text."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.runtime.session import Session
from tests.support.decoders import VOCABULARY, WIDTH, make_decoder
from tests.support.pipelines import CACHED, open_pipeline


@pytest.mark.parametrize("name", CACHED)
def test_a_text_has_the_scores_that_it_has_when_read_at_once(name, tmp_path):
    opened = open_pipeline(name, tmp_path)
    (decoder,), server = opened.pipeline.decoders, opened.server
    whole = Session(make_decoder(cross=True))
    empty = np.zeros((1, 1, 0, WIDTH), np.float32)
    for feeds in opened.make_samples(3).batches(1):
        encoded = server.encode(feeds)
        assert encoded.states.shape[1] == feeds["input_ids"].shape[1]
        text = np.random.default_rng(1).integers(0, VOCABULARY, 7)
        steps = server.go_on(decoder, encoded, text[:2])
        found = [next(steps), *(steps.send(int(token)) for token in text[2:])]
        inputs = {"input_ids": text[None], "encoder_hidden_states": encoded.states}
        wanted = whole.run(inputs | {f"past_key_values.0.{kind}": empty for kind in ("key", "value")})["logits"][0]
        np.testing.assert_allclose(np.stack(found), wanted[1:], atol=1e-4)


def test_without_a_cache_the_text_is_read_anew(tmp_path):
    opened = open_pipeline("encoder_decoder", tmp_path)
    (decoder,), server = opened.pipeline.decoders, opened.server
    encoded = server.encode(next(opened.make_samples(1).batches(1)))
    steps = server.go_on(decoder, encoded, [2])
    found = [next(steps), steps.send(5), steps.send(9)]
    session = Session(opened.models["decoder_model.onnx"])
    wanted = session.run({"input_ids": np.array([[2, 5, 9]]), "encoder_hidden_states": encoded.states,
                          "encoder_attention_mask": encoded.mask})["logits"][0]  # fmt: skip
    np.testing.assert_allclose(np.stack(found), wanted, atol=1e-5)


def test_what_a_step_is_fed_with_holds_the_caches_of_those_before(tmp_path):
    opened = open_pipeline("decoder_with_past", tmp_path)
    (decoder,), server = opened.pipeline.decoders, opened.server
    encoded = server.encode(next(opened.make_samples(1).batches(1)))
    runs = server.read_step(decoder, encoded, np.array([2, 5, 9, 4]))
    assert [run["past_key_values.0.key"].shape[2] for run in runs] == [1, 2, 3]
    assert {run["past_key_values.0.encoder.key"].shape[2] for run in runs} == {encoded.states.shape[1]}
