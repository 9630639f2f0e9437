"""Caches by step come back as they were, whether each goes on from the one before or not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.data.columns import ArrayColumn
from onnxslim.data.states.step_columns import CacheRecorder, ReindexedColumn


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_every_cache_is_what_it_was(steps: list[tuple[int, bool]], random: object) -> None:
    rng, rows = np.random.default_rng(len(steps)), [np.zeros((2, 0, 3), np.float32)]
    for growth, anew in steps:
        before = rng.standard_normal(rows[-1].shape).astype(np.float32) if anew else rows[-1]
        rows.append(np.concatenate([before, rng.standard_normal((2, growth, 3)).astype(np.float32)], axis=1))
    recorder = CacheRecorder("cache", 1)
    for row in rows:
        recorder.append(row)
    column = recorder.to_column()
    assert len(column) == len(rows)
    assert set(column.shapes) == {row.shape for row in rows}
    order = rng.permutation(len(rows))
    for chunk, found in zip([order[:2], order[2:]], column.read([order[:2], order[2:]]), strict=True):
        assert all(np.array_equal(a, rows[i]) for a, i in zip(found, chunk, strict=True))


def test_a_cache_of_a_fixed_size_comes_back_with_what_was_not_written_yet() -> None:
    rng, rows = np.random.default_rng(0), [np.zeros((3, 8), np.float32)]
    for position in (0, 1, 2, 5):
        rows.append(rows[-1].copy())
        rows[-1][:, position] = rng.standard_normal(3)
    recorder = CacheRecorder("cache", 1)
    for row in (*rows, rows[0]):
        recorder.append(row)
    column = recorder.to_column()
    assert list(column.shapes) == [(3, 8)]
    found = np.concatenate(list(column.read([np.array([4, 0]), np.array([5, 2])])))
    assert np.array_equal(found, np.stack([rows[4], rows[0], rows[0], rows[2]]))


def test_rows_of_a_sequence_are_those_of_its_steps() -> None:
    column = ReindexedColumn(ArrayColumn(np.arange(3)), np.array([0, 0, 2]))
    assert len(column) == 3
    assert np.concatenate(list(column.read([np.array([1]), np.array([2, 0])]))).tolist() == [0, 2, 0]
