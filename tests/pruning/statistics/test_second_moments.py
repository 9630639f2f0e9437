"""Moments and patches against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.statistics.second_moments import (
    HOLDOUT_PERIOD,
    ROWS_PER_COLUMN,
    SecondMoments,
    find_row_origins,
    holdout_mask,
    positions_per_sample,
    sample_positions,
)


def rows(n: int, d: int, m: int, groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(groups)
    return rng.normal(size=(groups, n, d)), rng.normal(size=(groups, n, m))


def with_ones(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("odd", ["nan", "inf", "-inf", "lowest"])
def test_rows_that_a_mask_took_are_left_out_and_the_others_are_as_if_alone(odd: str, dtype: type[np.floating]) -> None:
    x, _ = rows(40, 5, 2)
    x = x.astype(dtype)
    # what the runtime gives for a window of nothing but -inf is the lowest float32
    spoilt = np.float32(np.finfo(np.float32).min) if odd == "lowest" else np.float32(odd)
    with np.errstate(over="ignore"):
        holed = np.concatenate([x, np.full((1, 3, 5), spoilt, np.float64).astype(dtype)], axis=1)
    alone, together = SecondMoments(1, 5), SecondMoments(1, 5)
    alone.add(x)
    together.add(holed)
    assert together.count == alone.count == 40
    np.testing.assert_array_equal(together.mean_xx, alone.mean_xx)


@pytest.mark.parametrize("groups", [1, 3])
def test_moments_in_pieces_equal_the_whole(groups: int) -> None:
    x, y = rows(50, 7, 3, groups)
    whole, pieces = SecondMoments(groups, 7, 3), SecondMoments(groups, 7, 3)
    whole.add(x, y)
    for part in np.array_split(np.arange(50), 4):
        pieces.add(x[:, part].astype(np.float32), y[:, part].astype(np.float32))
    assert whole.count == pieces.count == 50
    np.testing.assert_allclose(whole.xx, np.einsum("gnd,gne->gde", with_ones(x), with_ones(x)))
    np.testing.assert_allclose(pieces.yx, np.einsum("gnm,gnd->gmd", y, with_ones(x)), rtol=1e-5, atol=1e-5)
    assert whole.variance() == pytest.approx(float(((y - y.mean(1, keepdims=True)) ** 2).sum()))


def test_adding_moments_is_having_seen_both() -> None:
    x, y = rows(40, 5, 2)
    first, second, both = SecondMoments(1, 5, 2), SecondMoments(1, 5, 2), SecondMoments(1, 5, 2)
    first.add(x[:, :15], y[:, :15])
    second.add(x[:, 15:], y[:, 15:])
    both.add(x, y)
    total = first + second
    assert total.count == 40
    np.testing.assert_allclose(total.xx, both.xx)
    np.testing.assert_allclose(total.yx, both.yx)


def test_sums_of_single_precision_are_exact_to_the_rows_deviations() -> None:
    rng = np.random.default_rng(0)
    x = (1000 + rng.normal(size=(1, 9000, 6))).astype(np.float32)
    moments = SecondMoments(1, 6, 0)
    for part in np.array_split(np.arange(9000), 3):
        moments.add(x[:, part])
    mean = moments.xx[0, -1, :-1] / 9000
    covariance = moments.xx[0, :-1, :-1] / 9000 - np.outer(mean, mean)
    np.testing.assert_allclose(covariance, np.cov(x[0].astype(np.float64).T, bias=True), atol=1e-6)


def test_positions_do_not_depend_on_the_batches() -> None:
    whole = sample_positions(49, 10, 0, 12, [0, 3])
    parts = [sample_positions(49, 10, first, 4, [0, 3]) for first in (0, 4, 8)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_positions_are_used_equally_often_and_never_twice_in_a_sample() -> None:
    positions = sample_positions(20, 6, 0, 10, [7])
    assert all(len(set(sample)) == 6 for sample in positions.tolist())
    assert set(np.bincount(positions.ravel(), minlength=20)) == {3}


@pytest.mark.parametrize("size", [1, 4, 10])
def test_a_small_map_is_used_whole(size: int) -> None:
    np.testing.assert_array_equal(sample_positions(size, 10, 5, 2, [0]), np.tile(np.arange(size), (2, 1)))


def test_a_layer_of_many_groups_takes_fewer_rows_but_enough_for_each() -> None:
    assert positions_per_sample(9, 256) == 32
    assert positions_per_sample(9, 256, 960) == 15
    assert positions_per_sample(9, 10_000, 10**6) == 1
    assert 64 * positions_per_sample(400, 64, 10**6) >= ROWS_PER_COLUMN * 400 // 2


def test_rows_are_of_their_samples_and_the_last_fold_is_held_back() -> None:
    samples, folds = find_row_origins(range(3, 11), 24)
    np.testing.assert_array_equal(samples, np.repeat(np.arange(3, 11), 3))
    np.testing.assert_array_equal(folds, samples % HOLDOUT_PERIOD)
    np.testing.assert_array_equal(holdout_mask(range(3, 11), 24), folds == HOLDOUT_PERIOD - 1)


def test_rows_of_no_sample_are_all_fitted_on() -> None:
    samples, folds = find_row_origins(range(4, 9), 7)
    assert set(samples) == {4}
    assert not folds.any()
    assert not holdout_mask(range(4, 9), 7).any()


def test_positions_that_nobody_reads_come_last() -> None:
    read = np.arange(20) < np.array([12, 3, 20])[:, None]
    positions = sample_positions(20, 6, 0, 3, [7], read=read)
    taken = np.take_along_axis(read, positions, axis=1)
    np.testing.assert_array_equal(taken.sum(axis=1), [6, 3, 6])
    assert all(len(set(row)) == 6 for row in positions.tolist())
    np.testing.assert_array_equal(
        sample_positions(20, 6, 4, 3, [7], read=np.ones((3, 20), bool)), sample_positions(20, 6, 4, 3, [7])
    )
