"""Texts tell of a decoder how likely it finds what follows, and whether it goes on by itself as the original does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.runtime.session import Session
from onnxslim.runtime.stateful_session import StatefulSession
from onnxslim.validation.evaluation import evaluate, evaluate_all
from onnxslim.validation.sequences.texts import CONTINUED_TOKENS, NextTokens, continue_greedily
from tests.support.decoders import POSITIONS, VOCABULARY, WIDTH, make_decoder, make_texts


def open_texts(model: ir.Model, *lengths: int) -> Samples:
    return DataOptions(state="auto").open([{"input_ids": text} for text in make_texts(*lengths)], model)


def disturb(model: ir.Model, size: float, name: str = "head") -> ir.Model:
    """A copy of ``model`` with noise of ``size`` on one weight."""
    copy = ir.from_proto(ir.to_proto(model))
    weight = copy.graph.initializers[name]
    values = weight.const_value.numpy()  # type: ignore[union-attr]
    noise = size * np.random.default_rng(1).standard_normal(values.shape)
    weight.const_value = ir.tensor((values + noise).astype(np.float32), name=name)
    return copy


def compute_logits(model: ir.Model, text: np.ndarray) -> np.ndarray:
    """The logits of a whole text at once, (tokens, classes)."""
    empty = np.zeros((1, 1, 0, WIDTH), np.float32)
    caches = dict.fromkeys(("past_key_values.0.key", "past_key_values.0.value"), empty)
    logits: np.ndarray = Session(model).run({"input_ids": text[None], **caches})["logits"][0]
    return logits


def test_perplexity_is_that_of_the_whole_text_at_once() -> None:
    model, lengths = make_decoder(), (9, 2, 40)
    result = disturb(model, 0.5)
    evaluation = evaluate(result, open_texts(model, *lengths), reference=model)
    perplexity = evaluation.find("perplexity")
    assert perplexity is not None
    for one, value in ((model, perplexity.original), (result, perplexity.result)):
        surprises = []
        for text in make_texts(*lengths):
            logits = compute_logits(one, text).astype(np.float64)
            logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            surprises.append(-logs[np.arange(len(text) - 1), text[1:]])
        assert value == pytest.approx(np.exp(np.concatenate(surprises).mean()), rel=1e-4)
    assert not perplexity.higher_is_better
    assert perplexity not in evaluation.gating


def test_greedy_continuations_are_those_of_feeding_everything_anew() -> None:
    model = make_decoder()
    samples = open_texts(model, 8)
    prompt = next(iter(samples.batches(1)))
    found = continue_greedily(StatefulSession(Session(model), samples.state), prompt, samples.layout, "logits", 12)  # type: ignore[arg-type]
    text = prompt["input_ids"][0]
    for token in found:
        assert int(compute_logits(model, text)[-1].argmax()) == token
        text = np.append(text, token)


def test_a_model_goes_on_as_far_as_its_positions_reach() -> None:
    model = make_decoder()
    samples = open_texts(model, POSITIONS)
    prompt = next(iter(samples.batches(1)))
    session = StatefulSession(Session(model), samples.state)
    found = continue_greedily(session, prompt, samples.layout, "logits", 2 * POSITIONS)  # type: ignore[arg-type]
    assert len(found) == POSITIONS - prompt["input_ids"].shape[1] + 1


@pytest.mark.parametrize("merged", [False, True])
def test_an_equal_model_keeps_every_continuation_and_a_ruined_one_none(merged: bool) -> None:
    model = make_decoder(merged=merged)
    models = {"same": ir.from_proto(ir.to_proto(model)), "ruined": disturb(model, 30.0)}
    found = evaluate_all(models, open_texts(model, 8, 12, 16), reference=model)
    same, ruined = (found[name].find("continuations") for name in models)
    assert same is not None
    assert ruined is not None
    assert (same.result, same.drop, ruined.result) == (1.0, 0.0, 0.0)
    assert same.note == f"equal for {CONTINUED_TOKENS}.0 of {CONTINUED_TOKENS} tokens on average"
    assert same not in found["same"].gating
    without = evaluate_all(models, open_texts(model, 8), reference=model, goes_on=False)
    assert without["same"].find("continuations") is None


def test_nothing_of_it_is_told_of_other_data() -> None:
    model = make_decoder()
    steps: dict[str, Any] = {"input_ids": np.stack(make_texts(6, 6))[:, :, None]}
    samples = DataOptions(state="auto").open(steps, model)
    assert samples.layout is None
    assert evaluate(model, samples, reference=model).find("perplexity") is None


def test_scores_that_are_not_finite_are_endlessly_surprising() -> None:
    samples = open_texts(make_decoder(), 4)
    next_tokens = NextTokens(samples, "logits")
    good = np.zeros((1, 2, VOCABULARY), np.float32)
    next_tokens.add(np.full_like(good, np.nan), good, range(1))
    perplexity = next_tokens.compute()
    assert perplexity is not None
    assert perplexity.original == pytest.approx(VOCABULARY)
    assert perplexity.result == np.inf
