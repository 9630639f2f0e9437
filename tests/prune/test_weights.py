"""Zeros where they were asked for, and weights that make up for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.prune.weights import magnitude_masks, pattern_mask, sparse


def problem(d: int = 48, m: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20 * d, -(-d // 3))) @ rng.normal(size=(-(-d // 3), d)) + 0.5 * rng.normal(size=(20 * d, d))
    return rng.normal(size=(m, d)), x.T @ x / len(x)


def loss(change: np.ndarray, gram: np.ndarray) -> float:
    return float(np.trace(change @ gram @ change.T))


@given(share=st.floats(0, 1), globally=st.booleans(), seed=st.integers(0, 99))
def test_the_share_is_met_and_the_smallest_go(share: float, globally: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(4, 5)), 100 * rng.normal(size=(30,))]
    masks = magnitude_masks(weights, share, globally=globally)
    if globally:
        assert sum(int((~mask).sum()) for mask in masks) == round(share * 50)
    for weight, mask in zip(weights, masks, strict=True):
        if not globally:
            assert (~mask).sum() == round(share * weight.size)
        if mask.any() and not mask.all():
            assert np.abs(weight[~mask]).max() <= np.abs(weight[mask]).min()


@given(rows=st.integers(1, 5), columns=st.integers(1, 23), n=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_pattern_keeps_n_of_every_m(rows: int, columns: int, n: int, seed: int) -> None:
    scores = np.random.default_rng(seed).random((rows, columns))
    mask = pattern_mask(scores, n, 4)
    whole = columns - columns % 4
    assert (mask[:, :whole].reshape(rows, -1, 4).sum(axis=2) == n).all()
    assert mask[:, whole:].all()
    for row, kept in zip(scores[:, :whole].reshape(-1, 4), mask[:, :whole].reshape(-1, 4), strict=True):
        if n < 4:
            assert row[kept].min() >= row[~kept].max()


@pytest.mark.parametrize("pattern", [None, (2, 4)])
def test_moving_the_rest_beats_just_zeroing(pattern: tuple[int, int] | None) -> None:
    weight, gram = problem()
    result = sparse(weight, np.linalg.inv(gram), 0.5, pattern)
    assert (result == 0).mean() == pytest.approx(0.5)
    plain = np.where(result == 0, 0.0, weight)
    assert loss(result - weight, gram) < 0.7 * loss(plain - weight, gram)
    if pattern is not None:
        assert ((result.reshape(6, -1, 4) != 0).sum(axis=2) == 2).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_one_zero_is_made_up_for_exactly(seed: int) -> None:
    weight, gram = problem(8, 1, seed)
    result = sparse(weight, np.linalg.inv(gram), 1 / 8)
    gone = int(np.flatnonzero(result[0] == 0)[0])
    right = np.arange(gone + 1, 8)
    # Columns to the left are done with: the optimum moves those to the right only.
    change = np.zeros((1, 8))
    change[0, gone] = -weight[0, gone]
    change[0, right] = np.linalg.lstsq(gram[np.ix_(right, right)], -gram[right, gone] * change[0, gone], rcond=None)[0]
    np.testing.assert_allclose(result - weight, change, rtol=1e-5, atol=1e-7)


def test_a_bias_column_is_moved_but_never_zero() -> None:
    weight, gram = problem(17, 4)
    gram[-1, -1] += 1.0
    result = sparse(weight, np.linalg.inv(gram), 1.0, columns=16)
    np.testing.assert_array_equal(result[:, :-1], 0.0)
    assert np.abs(result[:, -1]).min() > 0


def test_nothing_asked_nothing_changes() -> None:
    weight, gram = problem()
    np.testing.assert_array_equal(sparse(weight, np.linalg.inv(gram), 0.0), weight)
