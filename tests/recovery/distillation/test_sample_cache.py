"""Batches are drawn by the number of their step alone."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.data.sources import open_samples
from onnxslim.recovery.distillation import sample_cache
from onnxslim.recovery.distillation.batches import DistillationLoader
from onnxslim.recovery.distillation.sample_cache import SampleCache
from onnxslim.recovery.distillation.teacher import TappedModel
from onnxslim.runtime.session import SessionConfig
from tests.support import torch_graphs as nets
from tests.support.onnx_text import build


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 60), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_shows_samples_at_most_once_and_a_step_depends_on_its_number_alone(
    count: int, size: int, seed: int
) -> None:
    x = np.arange(count, dtype=np.float32)[:, None].repeat(8, 1)
    pool = SampleCache(open_samples({"x": x}, nets.mlp(), labels=np.arange(count)), seed)
    steps = count // min(size, count)
    shown = []
    for step in range(steps):
        ((feeds, labels),) = pool.draw_batches(step, size, seed)
        ((again, _),) = pool.draw_batches(step, size, seed)
        np.testing.assert_array_equal(feeds["x"], again["x"])
        np.testing.assert_array_equal(feeds["x"][:, 0], labels)
        shown += feeds["x"][:, 0].tolist()
    assert len(shown) == len(set(shown)) == steps * min(size, count)
    assert sorted(float(v) for feeds, _ in pool.iterate_all(7) for v in feeds["x"][:, 0]) == list(range(count))


def test_a_model_with_a_fixed_batch_is_shown_whole_batches() -> None:
    model = nets.mlp()
    model.graph.inputs[0].shape = nets.ir.Shape([4, 8])
    pool = SampleCache(open_samples({"x": np.ones((22, 8), np.float32)}, model))
    runs = list(pool.draw_batches(0, 8, 0))
    assert [feeds["x"].shape for feeds, _ in runs] == [(4, 8), (4, 8)]


def test_of_samples_of_several_lengths_each_run_counts_its_own() -> None:
    model = build("(float[n,s,4] x) => (float[n,s,4] y) { y = Relu (x) }")
    rows = [{"x": np.ones((length, 4), np.float32)} for length in (3, 3, 3, 2, 5, 5, 1)]
    pool = SampleCache(open_samples(rows, model))
    assert pool.stacked is None
    assert [pool.count_rows(feeds) for feeds, _ in pool.iterate_all(8)] == [3, 1, 2, 1]
    assert pool.sample_values == 5 * 4
    loader = DistillationLoader(pool, TappedModel(model, ["y"], SessionConfig()), None, ["x"], (), 0)
    parts = loader.micro_batches_at(0, 7, 1)
    assert sum(part.share for part in parts) == pytest.approx(1)
    shares = {len(part.feeds["x"]): part.share for part in parts}
    assert shares[3] == pytest.approx(3 * shares[1])


def test_samples_of_several_lengths_are_run_in_parts_that_hold_no_more_than_was_asked_for() -> None:
    model = build("(float[n,s,4] x) => (float[n,s,4] y) { y = Relu (x) }")
    rng, lengths = np.random.default_rng(0), [9] * 12 + [2] * 12 + [5] * 7
    rows = [{"x": rng.standard_normal((length, 4)).astype(np.float32)} for length in lengths]
    pool = SampleCache(open_samples(rows, model, labels=np.arange(len(rows))))
    largest = pool.take_largest()
    assert largest["x"].shape == (1, 9, 4)
    assert pool.count_rows(largest) == 1, "what it takes is planned with"
    loader = DistillationLoader(pool, TappedModel(model, ["y"], SessionConfig()), None, ["x"], (), 0)
    whole = loader.micro_batches_at(0, 60, 1)
    loader.max_part_values = 3 * 9 * 4
    parts = loader.micro_batches_at(0, 60, 1)
    assert len(parts) > len(whole)
    assert max(part.feeds["x"].size for part in parts) <= 3 * 9 * 4
    assert sorted(label for part in parts for label in part.labels) == list(range(len(rows)))  # type: ignore[union-attr]
    for part in parts:
        assert part.share == pytest.approx(len(part.feeds["x"]) / len(rows))
        for label, x in zip(part.labels, part.feeds["x"], strict=True):  # type: ignore[arg-type]
            np.testing.assert_array_equal(x, rows[label]["x"])


def test_runs_whose_batch_is_fixed_are_never_cut() -> None:
    model = nets.mlp()
    model.graph.inputs[0].shape = nets.ir.Shape([4, 8])
    pool = SampleCache(open_samples({"x": np.ones((12, 8), np.float32)}, model))
    assert pool.take_largest()["x"].shape == (4, 8)
    loader = DistillationLoader(pool, TappedModel(model, ["y"], SessionConfig()), None, ["x"], (), 0)
    loader.max_part_values = 1
    assert [part.feeds["x"].shape for part in loader.micro_batches_at(0, 12, 1)] == [(4, 8)] * 3


@pytest.mark.parametrize("is_full", [False, True])
def test_what_is_kept_in_a_file_comes_back_as_from_memory(is_full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(150, 8)).astype(np.float32)
    samples = open_samples({"x": x}, nets.mlp(), labels=np.arange(150))
    held = SampleCache(samples)

    def refuse(file: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample_cache, "MAX_HELD_BYTES", 1)
    if is_full:
        monkeypatch.setattr(sample_cache, "_reserve", refuse)
    mapped = SampleCache(samples)
    for step in range(5):
        ((expected, labels),), ((found, found_labels),) = (list(one.draw_batches(step, 32, 1)) for one in (held, mapped))
        np.testing.assert_array_equal(found["x"], expected["x"])
        np.testing.assert_array_equal(found_labels, labels)
    assert [len(feeds["x"]) for feeds, _ in mapped.iterate_all(64)] == [64, 64, 22]
    np.testing.assert_array_equal(np.concatenate([feeds["x"] for feeds, _ in mapped.iterate_all(64)]), x)


@pytest.mark.parametrize("is_full", [False, True])
def test_samples_of_several_lengths_come_back_from_files_as_from_memory(
    is_full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("(float[n,s,4] x) => (float[n,s,4] y) { y = Relu (x) }")
    rng = np.random.default_rng(0)
    rows = [{"x": rng.standard_normal((length, 4)).astype(np.float32)} for length in rng.integers(1, 30, 60)]
    samples = open_samples(rows, model, labels=np.arange(60))
    held = SampleCache(samples)
    monkeypatch.setattr(sample_cache, "MAX_HELD_BYTES", 2000)
    monkeypatch.setattr(sample_cache, "_FILE_BYTES", 1000)
    if is_full:
        monkeypatch.setattr(sample_cache, "_reserve", lambda file, size: os.stat("/no such file"))
    mapped = SampleCache(samples)
    assert bool(mapped._buffers) != is_full
    for one, other in zip(held.iterate_all(1), mapped.iterate_all(1), strict=True):
        np.testing.assert_array_equal(one[0]["x"], other[0]["x"])
        np.testing.assert_array_equal(one[1], other[1])
    for one, other in zip(held.draw_batches(3, 20, 1), mapped.draw_batches(3, 20, 1), strict=True):
        np.testing.assert_array_equal(one[0]["x"], other[0]["x"])


@pytest.mark.parametrize("fixed", [False, True], ids=["stacked", "whole batches"])
def test_samples_can_be_replaced_by_what_becomes_of_them(fixed: bool) -> None:
    x, model = np.random.default_rng(0).standard_normal((130, 8)).astype(np.float32), nets.mlp()
    if fixed:
        model.graph.inputs[0].shape = nets.ir.Shape([2, 8])
    pool = SampleCache(open_samples({"x": x}, model))
    before = np.concatenate([feeds["x"] for feeds, _ in pool.iterate_all(50)])
    pool.change_all(lambda feeds: {name: 2 * array for name, array in feeds.items()}, max_views=3)
    after = np.concatenate([feeds["x"] for feeds, _ in pool.iterate_all(50)])
    assert pool.views == (1 if fixed else 3)
    assert (len(pool), pool.sample_count) == (130 * pool.views, 130)
    np.testing.assert_array_equal(after, np.concatenate([2 * before] * pool.views))
