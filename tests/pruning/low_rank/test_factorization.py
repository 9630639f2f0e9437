"""Cheaper forms: what they cost, that their parts make them, and that no other weight of the form does better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.pruning.low_rank.factorization import (
    FACTORIZATION_KINDS,
    Factorization,
    choose_rank,
    count_weights,
    fit_factorization,
    relative_cost,
    split_factors,
)

SHAPE = (6, 4, 3, 3)


def problem(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A weight with a bias, and the Gram matrix of correlated inputs."""
    rng = np.random.default_rng(seed)
    d = int(np.prod(shape[1:]))
    x = rng.normal(size=(8 * d, d // 2)) @ rng.normal(size=(d // 2, d)) + 0.3 * rng.normal(size=(8 * d, d)) + 0.5
    rows = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    return rng.normal(size=(shape[0], d + 1)), rows.T @ rows / len(rows)


def loss(change: np.ndarray, gram: np.ndarray) -> float:
    return float(np.einsum("md,md->", change @ gram, change))


def rebuilt(form: Factorization, weight: np.ndarray) -> np.ndarray:
    """The dense weight that the factors of ``weight`` compute."""
    first, second = split_factors(form, weight)
    if form.kind == "border":
        return np.pad(first, [(0, 0), (0, 0), (1, 1), (1, 1)])
    assert second is not None
    if form.kind == "channels":
        return np.einsum("mr,rchw->mchw", second[:, :, 0, 0], first)
    if form.kind == "spatial":
        return np.einsum("mrw,rch->mchw", second[:, :, 0], first[..., 0])
    kernels = first.reshape(weight.shape[1], -1, *weight.shape[2:])
    mix = second.reshape(len(weight), weight.shape[1], -1)
    return np.einsum("mcr,crhw->mchw", mix, kernels)


@pytest.mark.parametrize("kind", FACTORIZATION_KINDS)
@settings(max_examples=15, deadline=None)
@given(rank=st.integers(1, 3), seed=st.integers(0, 99))
def test_what_was_fitted_is_what_its_factors_make(kind: str, rank: int, seed: int) -> None:
    weight, gram = problem(seed)
    form = Factorization(kind, 1 if kind == "border" else rank)
    found, error = fit_factorization(form, weight, (3, 3), gram)
    dense = found[:, :-1].reshape(SHAPE)
    np.testing.assert_allclose(rebuilt(form, dense), dense, atol=1e-8)
    variance = loss(weight, gram) - float(np.square(weight @ gram[:, -1]).sum())
    assert error == pytest.approx(loss(found - weight, gram) / variance, rel=1e-5)
    assert 0 <= error < 1


@pytest.mark.parametrize("kind", FACTORIZATION_KINDS)
def test_the_parts_hold_what_they_are_said_to_cost(kind: str) -> None:
    weight, gram = problem()
    form = Factorization(kind, 1 if kind == "border" else 2)
    first, second = split_factors(form, fit_factorization(form, weight, (3, 3), gram)[0][:, :-1].reshape(SHAPE))
    assert count_weights(form, SHAPE) == first.size + (0 if second is None else second.size)
    assert relative_cost(form, SHAPE, (1, 1)) == pytest.approx(count_weights(form, SHAPE) / np.prod(SHAPE))


@settings(max_examples=20, deadline=None)
@given(rank=st.integers(1, 5), seed=st.integers(0, 99))
def test_no_other_rank_is_nearer_than_that_of_the_outputs(rank: int, seed: int) -> None:
    weight, gram = problem(seed, (6, 9))
    found, _ = fit_factorization(Factorization("channels", rank), weight, (), gram)
    rng = np.random.default_rng(seed)
    best = loss(found - weight, gram)
    left, sizes, right = np.linalg.svd(found[:, :-1])
    for _ in range(10):
        # Near it and of the same rank: the optimum has no better neighbour.
        moved = (
            (left[:, :rank] + 0.02 * rng.normal(size=(6, rank)))
            * sizes[:rank]
            @ (right[:rank] + 0.02 * rng.normal(size=(rank, 9)))
        )
        other = np.concatenate([moved, found[:, -1:]], axis=1)
        assert loss(other - weight, gram) >= best * (1 - 1e-6)


@pytest.mark.parametrize("kind", ["channels", "spatial", "depthwise"])
def test_enough_rank_loses_nothing(kind: str) -> None:
    weight, gram = problem()
    found, error = fit_factorization(Factorization(kind, 12), weight, (3, 3), gram)
    assert error < 1e-5
    assert loss(found - weight, gram) < 1e-4 * loss(weight, gram)


def test_data_choose_better_than_the_weights_alone() -> None:
    weight, gram = problem(shape=(12, 4, 3, 3))
    white = np.eye(len(gram))
    for kind in ("channels", "depthwise"):
        seeing, blind = (fit_factorization(Factorization(kind, 2), weight, (3, 3), g)[0] for g in (gram, white))
        assert loss(seeing - weight, gram) < loss(blind - weight, gram)


@given(share=st.floats(0.05, 1.0), kind=st.sampled_from(FACTORIZATION_KINDS))
def test_the_cheapest_form_costs_no_more_than_asked(share: float, kind: str) -> None:
    form = choose_rank(kind, (64, 32, 3, 3), (1, 1), share)
    if form is not None:
        assert relative_cost(form, (64, 32, 3, 3), (1, 1)) <= share
        if kind != "border":
            assert relative_cost(Factorization(kind, form.rank + 1), (64, 32, 3, 3), (1, 1)) > share


def test_forms_that_a_shape_does_not_allow() -> None:
    assert choose_rank("spatial", (8, 8, 1, 1), (1, 1), 0.9) is None
    assert choose_rank("depthwise", (8, 8), (), 0.9) is None
    assert choose_rank("border", (8, 8, 2, 2), (1, 1), 0.9) is None
    assert choose_rank("border", (8, 8, 5, 5), (1, 1), 0.3) is None
    assert choose_rank("channels", (1, 8), (), 0.9) is None


def test_features_that_say_the_same_are_damped_until_they_can_be_told() -> None:
    gram = np.full((9, 9), 1.0)
    gram[0, 0] -= 1e-6  # as rounding leaves it: no longer positive
    weight = np.random.default_rng(0).normal(size=(4, 9))
    found, error = fit_factorization(Factorization("channels", 2), weight, (), gram)
    assert np.isfinite(found).all()
    assert np.isfinite(error)
