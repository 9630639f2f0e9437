"""What encoder and decoder give together."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_folders.pipelines.composition import Composition
from onnxslim.model_folders.pipelines.served_texts import ServedTexts, write_text
from onnxslim.model_folders.pipelines.special_tokens import SpecialTokens
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from onnxslim.validation.gates import Gates, find_gate_failures
from tests.support.pipelines import CACHED, open_pipeline

SPECIAL = SpecialTokens((2,), frozenset(), None)


def compose(opened, count=4, length=6):
    (decoder,), server, samples = opened.pipeline.decoders, opened.server, opened.make_samples(count)
    tokens = [write_text(server, decoder, server.encode(feeds), SPECIAL, length) for feeds in samples.batches(1)]
    return Composition(opened.pipeline, ServedTexts(server, samples, tokens), 1)


def disturb(model, name, factor):
    """``model`` with noise on the initializer ``name``."""
    copy = model_file.clone(model)
    array = copy.graph.initializers[name].const_value.numpy()
    noise = np.random.default_rng(0).standard_normal(array.shape).astype(np.float32)
    copy.graph.initializers[name].const_value = ir.tensor(array + factor * noise, name=name)
    return copy


@pytest.mark.parametrize("name", ["encoder_decoder", *CACHED])
def test_the_originals_lose_nothing(name, tmp_path):
    opened = open_pipeline(name, tmp_path)
    (evaluation,) = compose(opened).evaluate(opened.sessions)
    assert evaluation.metric.drop == 0
    assert {one.name: one.result for one in evaluation.metrics if one.name != "tokens"} == {
        "kl": 0, "agreement": 1, "continuations": 1,
    }  # fmt: skip


def test_many_tokens_that_change_fail_though_the_original_was_unsure_of_them(tmp_path):
    opened = open_pipeline("encoder_and_merged_decoder", tmp_path)
    path = "onnx/decoder_model_merged.onnx"
    changed = {path: Session(disturb(opened.models[path], "head", 0.01))}
    (evaluation,) = compose(opened).evaluate(opened.sessions | changed)
    assert evaluation.find("tokens").drop < 0.01
    assert evaluation.find("kl").drop < 0.01
    (line,) = find_gate_failures(Gates(max_drop=0.01), evaluation)
    assert "agreement drops by 4.167 %" in line


@pytest.mark.parametrize(
    ("path", "weight"), [("onnx/encoder_model.onnx", "table"), ("onnx/decoder_model_merged.onnx", "w_ck")]
)
def test_what_either_loses_shows_in_the_tokens(path, weight, tmp_path):
    opened = open_pipeline("encoder_and_merged_decoder", tmp_path)
    composition, losses = compose(opened), []
    for factor in (0.01, 3.0):
        changed = {path: Session(disturb(opened.models[path], weight, factor))}
        (evaluation,) = composition.evaluate(opened.sessions | changed)
        losses.append(evaluation.find("kl").result)
    assert 0 < losses[0] < losses[1]
    assert evaluation.find("agreement").result < 1
    assert evaluation.find("continuations").result < 1
