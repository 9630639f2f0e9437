"""An original and results side by side: every sample once, in order, whatever the batches are."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from onnxslim.data.sources import open_samples
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.runtime.session import Session
from onnxslim.runtime.stateful_session import StatefulSession
from onnxslim.validation.paired_runs import MAX_BATCH_BYTES, MAX_BATCH_SAMPLES, choose_batch_size, run_batches
from tests.support.node_graphs import FLOAT, build, chain


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batches_hold_every_sample_once_in_order(batch_size: int) -> None:
    original, result = chain(), chain({2: 0.5})
    x = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
    samples = open_samples(x, original)
    sessions = [StatefulSession(Session(model), samples.state) for model in (original, result)]
    found = list(run_batches(samples, sessions[0], {"r": sessions[1]}, batch_size))
    assert [index for indices, _, _ in found for index in indices] == list(range(10))
    for place, model in ((1, original), (2, result)):
        values = [np.asarray((batch[1] if place == 1 else batch[2]["r"])["y"]) for batch in found]  # type: ignore[index]
        np.testing.assert_allclose(np.concatenate(values), Session(model).run({"x": x})["y"], rtol=1e-5)


def test_steps_of_sequences_carry_their_state_and_come_some_at_a_time() -> None:
    nodes = [helper.make_node("Add", ["x", "state"], ["next"]), helper.make_node("Identity", ["next"], ["y"])]
    vector = (FLOAT, ["b", 3])
    model = build(nodes, {"x": vector, "state": vector}, {"y": vector, "next": vector})
    x = np.random.default_rng(0).normal(size=(2, MAX_BATCH_SAMPLES - 10, 3)).astype(np.float32)
    samples = DataOptions(state={"next": "state"}).open({"x": x}, model)
    session = StatefulSession(Session(model), samples.state)
    found = list(run_batches(samples, None, {"r": session}, 1))
    assert [len(indices) for indices, _, _ in found] == [MAX_BATCH_SAMPLES, MAX_BATCH_SAMPLES - 20]
    values = np.concatenate([np.asarray(results["r"]["y"]) for _, _, results in found])
    np.testing.assert_allclose(values.reshape(x.shape), np.cumsum(x, axis=1), rtol=1e-4, atol=1e-5)


def test_steps_whose_outputs_grow_or_are_large_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, vector = ["b", "past", 3], (FLOAT, ["b", 1, 3])
    nodes = [helper.make_node("Concat", ["cache", "x"], ["next"], axis=1), helper.make_node("Identity", ["x"], ["y"])]
    model = build(nodes, {"x": vector, "cache": cache}, {"y": vector, "next": ["b", "total", 3]})
    x = np.random.default_rng(0).normal(size=(2, 5, 1, 3)).astype(np.float32)
    samples = DataOptions(state={"next": "cache"}).open({"x": x}, model)
    growing = list(run_batches(samples, None, {"r": StatefulSession(Session(model), samples.state)}, 1))
    assert [index for indices, _, _ in growing for index in indices] == list(range(10))
    assert [len(indices) for indices, _, _ in growing] == [1] * 10
    monkeypatch.setattr("onnxslim.validation.paired_runs.MAX_STEP_BYTES", 4 * 3 * 4)
    summed = [helper.make_node("Add", ["x", "state"], ["next"]), helper.make_node("Identity", ["next"], ["y"])]
    model = build(summed, {"x": vector, "state": vector}, {"y": vector, "next": vector})
    samples = DataOptions(state={"next": "state"}).open({"x": x}, model)
    large = list(run_batches(samples, None, {"r": StatefulSession(Session(model), samples.state)}, 1))
    assert [len(indices) for indices, _, _ in large] == [2] * 5
    values = np.concatenate([np.asarray(results["r"]["y"]) for _, _, results in large])
    np.testing.assert_allclose(values.reshape(x.shape), np.cumsum(x, axis=1), rtol=1e-4, atol=1e-5)


def test_batches_are_as_large_as_inputs_and_the_model_allow() -> None:
    def choose(width: int, copies: int = 1) -> int:
        tiled = [helper.make_node("Concat", ["x"] * copies, ["c"], axis=1), helper.make_node("Identity", ["c"], ["y"])]
        model = build(tiled, {"x": (FLOAT, ["b", width])}, {"y": (FLOAT, ["b", width * copies])})
        samples = open_samples(np.zeros((MAX_BATCH_SAMPLES, width), np.float32), model)
        return choose_batch_size(model, StatefulSession(Session(model), samples.state), samples)

    assert choose(8) == MAX_BATCH_SAMPLES
    assert choose(MAX_BATCH_BYTES // 16) == 4
    assert choose(MAX_BATCH_BYTES // 4) == 1
    assert choose(4096, 1000) < MAX_BATCH_SAMPLES
