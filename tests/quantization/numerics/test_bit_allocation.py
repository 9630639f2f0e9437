"""Bits for bytes: against every allocation of few weights, and along the front."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.numerics.bit_allocation import find_hull, pick_within, walk_allocations

WEIGHTS = st.lists(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), min_size=1, max_size=4), min_size=1, max_size=4
)


def split(weights: list[list[tuple[int, int]]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pairs = [np.array(choices, np.float64) for choices in weights]
    return [pair[:, 0] for pair in pairs], [pair[:, 1] for pair in pairs]


@settings(max_examples=100, deadline=None)
@given(WEIGHTS)
def test_no_allocation_has_fewer_bytes_and_less_loss_than_a_point_of_the_front(weights: list[list[tuple[int, int]]]) -> None:
    front = walk_allocations(*split(weights))
    everything = [(sum(b for b, _ in chosen), sum(loss for _, loss in chosen)) for chosen in itertools.product(*weights)]
    for point in front:
        chosen = [weights[weight][choice] for weight, choice in enumerate(point.choices)]
        assert (sum(b for b, _ in chosen), sum(loss for _, loss in chosen)) == (point.nbytes, point.loss)
        assert not any(b <= point.nbytes and loss < point.loss for b, loss in everything)
    assert front[0].nbytes == min(b for b, _ in everything)
    assert front[-1].loss == min(loss for _, loss in everything)


@settings(max_examples=50, deadline=None)
@given(WEIGHTS, st.floats(0.01, 100))
def test_at_every_price_of_a_byte_the_front_has_the_best_allocation(
    weights: list[list[tuple[int, int]]], price: float
) -> None:
    front = walk_allocations(*split(weights))
    best = sum(min(loss + price * b for b, loss in choices) for choices in weights)
    assert min(point.loss + price * point.nbytes for point in front) <= best * (1 + 1e-9) + 1e-9


@settings(max_examples=50, deadline=None)
@given(WEIGHTS)
def test_along_the_front_bytes_grow_and_loss_falls_ever_less_a_byte(weights: list[list[tuple[int, int]]]) -> None:
    front = walk_allocations(*split(weights))
    rates = [(a.loss - b.loss) / (b.nbytes - a.nbytes) for a, b in itertools.pairwise(front)]
    assert all(rate > 0 for rate in rates)
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(rates))


def test_a_choice_above_the_line_between_its_neighbors_is_never_taken() -> None:
    assert find_hull(np.array([1.0, 2.0, 3.0, 3.0]), np.array([10.0, 9.0, 1.0, 2.0])) == [0, 2]


def test_a_size_is_kept_and_one_too_small_is_told() -> None:
    front = walk_allocations(*split([[(1, 10), (4, 1)], [(2, 8), (6, 2)]]))
    assert pick_within(front, 2.9) is None
    index = pick_within(front, 7)
    assert index is not None
    assert front[index].nbytes == 6
