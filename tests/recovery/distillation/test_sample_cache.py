"""Batches are drawn by the number of their step alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.data.sources import open_samples
from onnxslim.recovery.distillation.sample_cache import SampleCache
from tests.support import torch_graphs as nets


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
