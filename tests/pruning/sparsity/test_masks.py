"""Zeros where they were asked for, and weights that make up for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.pruning.sparsity.masks import (
    MaskRule,
    allocate_sparsity,
    apply_sparsegpt,
    by_pattern,
    by_share,
    by_threshold,
    by_tile,
)


def problem(d: int = 48, m: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20 * d, -(-d // 3))) @ rng.normal(size=(-(-d // 3), d)) + 0.5 * rng.normal(size=(20 * d, d))
    return rng.normal(size=(m, d)), x.T @ x / len(x)


def loss(change: np.ndarray, gram: np.ndarray) -> float:
    return float(np.trace(change @ gram @ change.T))


@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_share_is_met_and_the_smallest_go(share: float, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(4, 5))
    mask = by_share(share)(weight, np.abs(weight))
    assert (~mask).sum() == round(share * 20)
    if mask.any() and not mask.all():
        assert np.abs(weight[~mask]).max() <= np.abs(weight[mask]).min()


@given(share=st.floats(0, 1), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_layers_share_what_goes_whatever_their_scale(share: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(4, 5)), rng.laplace(size=(30,))]
    found = allocate_sparsity(weights, share)
    assert 20 * found[0] + 30 * found[1] == pytest.approx(round(share * 50))
    assert found == pytest.approx(allocate_sparsity([weights[0] * scale, weights[1]], share), abs=0.11)


def test_a_tile_goes_whole_and_those_that_weigh_least() -> None:
    weight = np.random.default_rng(0).normal(size=(5, 18))
    mask = by_tile(0.5, 2, 4)(weight, np.square(weight))
    tiles = mask[:4, :16].reshape(2, 2, 4, 4)
    assert (tiles.all(axis=(1, 3)) ^ (~tiles).all(axis=(1, 3))).all()
    assert (~tiles).all(axis=(1, 3)).sum() == 4
    assert mask[4:].all()
    assert mask[:, 16:].all()


def test_what_is_below_a_threshold_goes() -> None:
    weight = np.array([[-2.0, 0.1, 0.5, -0.4]])
    np.testing.assert_array_equal(by_threshold(0.5)(weight, weight), [[True, False, True, False]])


@given(rows=st.integers(1, 5), columns=st.integers(1, 23), n=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_pattern_keeps_n_of_every_m(rows: int, columns: int, n: int, seed: int) -> None:
    scores = np.random.default_rng(seed).random((rows, columns))
    mask = by_pattern(n, 4)(scores, scores)
    whole = columns - columns % 4
    assert (mask[:, :whole].reshape(rows, -1, 4).sum(axis=2) == n).all()
    assert mask[:, whole:].all()
    for row, kept in zip(scores[:, :whole].reshape(-1, 4), mask[:, :whole].reshape(-1, 4), strict=True):
        if n < 4:
            assert row[kept].min() >= row[~kept].max()


@pytest.mark.parametrize(("choice", "step"), [(by_share(0.5), 1), (by_pattern(2, 4), 4), (by_tile(0.5, 2, 4), 4)])
def test_moving_the_rest_beats_just_zeroing(choice: MaskRule, step: int) -> None:
    weight, gram = problem()
    result = apply_sparsegpt(weight, np.linalg.inv(gram), choice, column_multiple=step)
    assert (result == 0).mean() == pytest.approx(0.5)
    plain = np.where(result == 0, 0.0, weight)
    assert loss(result - weight, gram) < 0.7 * loss(plain - weight, gram)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_one_zero_is_made_up_for_exactly(seed: int) -> None:
    weight, gram = problem(8, 1, seed)
    result = apply_sparsegpt(weight, np.linalg.inv(gram), by_share(1 / 8))
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
    result = apply_sparsegpt(weight, np.linalg.inv(gram), by_share(1.0), columns=16)
    np.testing.assert_array_equal(result[:, :-1], 0.0)
    assert np.abs(result[:, -1]).min() > 0


def test_nothing_asked_nothing_changes() -> None:
    weight, gram = problem()
    np.testing.assert_array_equal(apply_sparsegpt(weight, np.linalg.inv(gram), by_share(0.0)), weight)
