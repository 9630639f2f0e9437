"""Pairs and neighbors of embeddings: against scipy and plain loops, and what they must and must not see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics import embeddings
from onnxslim.validation.metrics.embeddings import NeighborsMetric, SimilarityMetric, keep_neighbors, measure_cosines
from tests.support.metric_values import draw_vectors, judge, lost_points

RNG = np.random.default_rng(0)


@given(st.integers(0, 2**20), st.integers(4, 30))
def test_they_are_what_scipy_and_a_plain_loop_say(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a = draw_vectors(rng, n)
    b = a + 0.4 * rng.normal(size=a.shape)
    cosines = [x @ x.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1)) for x in (a, b)]
    pairs = np.triu_indices(n, 1)
    assert judge("similarity", b, a).result == pytest.approx(
        stats.spearmanr(cosines[0][pairs], cosines[1][pairs])[0], abs=1e-3
    )
    for found in cosines:  # of two that are equally near the metric counts a half, and it reads float32
        first, second = np.sort(np.where(np.eye(n), -np.inf, found), axis=1)[:, [-1, -2]].T
        assume(bool((first - second > 1e-5).all()))
    kept = [
        max((j for j in range(n) if j != i), key=lambda j, i=i: cosines[0][i, j])
        == max((j for j in range(n) if j != i), key=lambda j, i=i: cosines[1][i, j])
        for i in range(n)
    ]
    assert judge("neighbors", b, a).result == pytest.approx(np.mean(kept))


def test_lengths_and_rotations_do_not_matter_because_nobody_reads_them() -> None:
    a = draw_vectors(RNG, 60)
    rotation = np.linalg.qr(RNG.normal(size=(48, 48)))[0]
    lengths = RNG.uniform(0.5, 2, (60, 1))
    for name in ("similarity", "neighbors"):
        assert lost_points(name, lengths * a @ rotation, a) == pytest.approx(0, abs=0.01)


def test_a_direction_that_all_rows_gain_is_seen() -> None:
    a = draw_vectors(RNG, 60)
    assert lost_points("similarity", a + 30 * RNG.normal(size=48), a) > 1


def test_rows_that_are_equal_are_each_others_nearest_whichever_is_named() -> None:
    a = np.repeat(RNG.normal(size=(6, 8)), 3, axis=0)
    assert judge("neighbors", a + 1e-9 * RNG.normal(size=a.shape), a).result == 1
    assert keep_neighbors(np.eye(1), np.eye(1)).tolist() == [1.0]


def test_a_zero_row_is_like_nothing() -> None:
    assert measure_cosines(np.array([[0.0, 0.0], [1.0, 0.0]])).tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_several_vectors_a_sample_are_pooled_whatever_their_number() -> None:
    rng = np.random.default_rng(1)
    vectors = draw_vectors(rng, 40)
    similar, plain = SimilarityMetric(), SimilarityMetric()
    for length, row in zip(rng.integers(2, 9, 40), vectors, strict=True):
        tokens = row + rng.normal(size=(1, length, 48))
        noisy = tokens + 0.5 * rng.normal(size=tokens.shape)
        similar.add(noisy, tokens, None, 1)
        plain.add(noisy.mean(axis=1), tokens.mean(axis=1), None, 1)
    assert similar.compute().result == pytest.approx(plain.compute().result)
    assert judge("similarity", vectors[:, None], vectors[:, None]).result == pytest.approx(1.0)


def test_a_sample_without_vectors_is_like_nothing() -> None:
    rows = [RNG.normal(size=(1, count, 6)) for count in (3, 0, 2, 1, 4, 5)]
    tally = SimilarityMetric()
    for row in rows:
        tally.add(row, row, None, 1)
    assert tally.compute().drop == pytest.approx(0.0)


def test_vectors_of_several_lengths_are_none() -> None:
    tally = SimilarityMetric()
    tally.add(np.ones((1, 4, 16)), np.ones((1, 4, 16)), None, 1)
    with pytest.raises(UsageError, match="vectors of 16 and of 5 numbers"):
        tally.add(np.ones((1, 2, 5)), np.ones((1, 2, 5)), None, 1)


def test_many_rows_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "MAX_ROWS", 50)
    a = draw_vectors(RNG, 300)
    b = a + 0.3 * RNG.normal(size=a.shape)
    few = judge("similarity", b, a)
    assert few.n == 300
    monkeypatch.setattr(embeddings, "MAX_ROWS", 2048)
    assert few.result == pytest.approx(judge("similarity", b, a).result, abs=0.05)


def test_few_or_equal_rows_have_no_pairs_to_rank_and_it_is_said() -> None:
    a = RNG.normal(size=(2, 8))
    assert "2 rows have no pairs to rank" in judge("similarity", a, a).note
    assert lost_points("similarity", -a, a) > 100
    same = np.ones((9, 4))
    result = judge("similarity", same, same)
    assert result.drop == pytest.approx(0)
    assert "all alike" in result.note


def test_they_ask_for_vectors_and_an_original() -> None:
    with pytest.raises(UsageError, match="needs a reference model"):
        SimilarityMetric().add(np.ones((2, 2)), None, None, 2)
    for values in (np.ones(3), np.ones((3, 2), int)):
        with pytest.raises(UsageError, match="expected vectors"):
            NeighborsMetric().add(values, values, None, 3)
