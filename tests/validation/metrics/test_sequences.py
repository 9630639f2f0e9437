"""Edits of sequences against a plain recursion, what is said at every step against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics import classification
from onnxslim.validation.metrics.sequences import edit_distance
from onnxslim.validation.metrics.table import METRICS
from tests.support.metric_values import metric_value


def plain_edit_distance(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        plain_edit_distance(a[1:], b) + 1,
        plain_edit_distance(a, b[1:]) + 1,
        plain_edit_distance(a[1:], b[1:]) + (a[0] != b[0]),
    )


@given(st.lists(st.integers(1, 3), max_size=5), st.lists(st.integers(1, 3), max_size=5))
def test_edit_distance_is_levenshteins(a: list[int], b: list[int]) -> None:
    assert edit_distance(np.array(a, int), np.array(b, int)) == plain_edit_distance(a, b)


def test_ctc_merges_repeats_before_it_drops_blanks() -> None:
    path = np.eye(4, dtype=np.float32)[[[1, 1, 0, 1, 2, 2]]]  # 1 1 _ 1 2 2 reads 1 1 2
    assert metric_value("ctc", path, labels=np.array([[1, 1, 2]])) == 1
    assert metric_value("ctc", path, labels=np.array([[1, 2, 3]])) == pytest.approx(1 - 2 / 3)
    assert metric_value("ctc", path, labels=np.array([[1, 1, 2, 3]])) == pytest.approx(1 - 1 / 4)


def test_tokens_and_divergence_are_those_of_every_step_whatever_the_scores_are() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 5, 7)) * 2
    p, q = special.softmax(a, axis=-1), special.softmax(b, axis=-1)
    chosen = np.take_along_axis(p, b.argmax(axis=-1)[..., None], axis=-1).mean()
    divergence = stats.entropy(p.reshape(-1, 7), q.reshape(-1, 7), axis=1).mean()
    for original, result in ((a, b), (p, q), (np.log(p), np.log(q))):
        tokens, kl = (METRICS[name].parts(result, original, None).mean(axis=0) for name in ("tokens", "kl"))
        assert tokens[0] == pytest.approx(chosen)
        assert kl[0] == pytest.approx(divergence)
    assert metric_value("kl", b[:, 0], a[:, 0]) == pytest.approx(stats.entropy(p[:, 0], q[:, 0], axis=1).mean())


def test_classes_that_are_masked_out_add_nothing_and_ones_that_vanish_much() -> None:
    a = np.random.default_rng(0).normal(size=(2, 4, 6))
    a[..., 3] = -np.inf
    assert metric_value("kl", a, a) == 0
    assert metric_value("kl", np.where(np.arange(6) == 1, -np.inf, a), a) > 1


def test_large_vocabularies_are_computed_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 3, 8, 11))
    names = ("tokens", "kl")
    whole = [METRICS[name].parts(b, a, None) for name in names]
    monkeypatch.setattr(classification, "MAX_ELEMENTS", 30)
    for name, expected in zip(names, whole, strict=True):
        assert np.allclose(METRICS[name].parts(b, a, None), expected)


def test_a_sequence_without_steps_loses_nothing_and_scores_are_asked_for() -> None:
    nothing = np.zeros((2, 0, 5), np.float32)
    assert metric_value("tokens", nothing) == 1
    assert metric_value("kl", nothing) == 0
    for name in ("tokens", "kl"):
        with pytest.raises(UsageError, match="expected scores of shape"):
            metric_value(name, np.zeros(4, np.float32))
