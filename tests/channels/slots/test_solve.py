"""The units of random relations, held against the relations themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.channels.slots.solve import Product, Solution, common_factors, components, solve_units


def gone(solution: Solution, units: set[int]) -> np.ndarray:
    """Which slots go with ``units``."""
    return np.isin(solution.labels, sorted(units)).any(axis=1)


@st.composite
def systems(draw: st.DrawFn) -> tuple[int, list, list, list]:
    """Slots in blocks of 12, products over any of them in any shape, ties and pins between anything."""
    blocks = draw(st.integers(1, 3))
    count = 1 + 12 * blocks
    products = []
    for _ in range(draw(st.integers(0, 5))):
        shape = draw(st.sampled_from([(2, 6), (6, 2), (3, 4), (4, 3), (2, 2, 3), (3, 2, 2)]))
        start = draw(st.integers(1, count - 12))
        whole = np.arange(start, start + 12)
        if draw(st.booleans()):
            whole = whole.reshape(2, 6).T.ravel()
        parts = []
        for size in shape:
            parts.append(np.arange(count, count + size))
            count += size
        products.append(Product(whole, tuple(parts)))
    slot = st.integers(1, count - 1)
    ties = [(np.array([a]), np.array([b])) for a, b in draw(st.lists(st.tuples(slot, slot), max_size=6))]
    pins = [(np.array([s]), 1) for s in draw(st.lists(slot, max_size=2))]
    return count, ties, pins, products


@given(systems(), st.randoms(use_true_random=False))
def test_any_union_of_units_solves_all_relations(system: tuple[int, list, list, list], random: object) -> None:
    count, ties, pins, products = system
    solution = solve_units(count, ties, pins, products)
    some = {u for u in range(solution.units) if random.random() < 0.5}  # type: ignore[attr-defined]
    for units in (some, set(range(solution.units)), *({u} for u in range(solution.units))):
        goes = gone(solution, units)
        assert not goes[0]
        for one, two in ties:
            assert (goes[one] == goes[two]).all()
        for slots, _ in pins:
            assert not goes[slots].any()
            assert (solution.reason[slots] >= 0).all()
        for product in products:
            grid = np.meshgrid(*product.parts, indexing="ij")
            assert (goes[product.whole] == np.any([goes[part.ravel()] for part in grid], axis=0)).all()


def test_rows_and_columns_of_a_split_axis_are_units() -> None:
    whole, rows, columns = np.arange(1, 13), np.arange(13, 16), np.arange(16, 20)
    solution = solve_units(20, [], [], [Product(whole, (rows, columns))])
    assert solution.units == 3 + 4
    assert (np.sort(solution.labels[whole], axis=1)[:, -2:] >= 0).all()


def test_two_factorisations_of_one_axis_meet_in_the_finer_one() -> None:
    whole, a, b = np.arange(1, 13), (np.arange(13, 15), np.arange(15, 21)), (np.arange(21, 27), np.arange(27, 29))
    solution = solve_units(29, [], [], [Product(whole, a), Product(whole, b)])
    assert solution.units == 2 + 3 + 2


def test_factorisations_that_do_not_fit_leave_what_both_can_do() -> None:
    whole, a, b = np.arange(1, 13), (np.arange(13, 16), np.arange(16, 20)), (np.arange(20, 24), np.arange(24, 27))
    solution = solve_units(27, [], [], [Product(whole, a), Product(whole, b)])
    assert (solution.reason[whole] >= 0).any() or solution.units >= 1


def test_a_pinned_whole_pins_its_factors_and_passes_its_reason_on() -> None:
    solution = solve_units(9, [], [(np.arange(1, 5), 7)], [Product(np.arange(1, 5), (np.arange(5, 7), np.arange(7, 9)))])
    assert solution.units == 0
    assert (solution.reason[1:] == 7).all()


def test_the_lowest_reason_wins() -> None:
    solution = solve_units(3, [(np.array([1]), np.array([2]))], [(np.array([1]), 5), (np.array([2]), 3)], [])
    assert solution.reason.tolist() == [0, 3, 3]


def test_a_shuffle_chain_of_any_length_settles() -> None:
    ties, products, count = [], [], 17
    whole = np.arange(1, 17)
    for _ in range(200):
        rows, columns = np.arange(count, count + 2), np.arange(count + 2, count + 10)
        count += 10
        products.append(Product(whole, (rows, columns)))
        shuffled = np.arange(count, count + 16)
        count += 16
        products.append(Product(shuffled, (columns, rows)))
        whole = shuffled
    solution = solve_units(count, ties, [], products)
    everything = gone(solution, set(range(solution.units)))
    assert solution.units == 0 or everything.any()


def test_components_are_numbered_in_the_order_of_their_first_element() -> None:
    assert components(5, [(np.array([1]), np.array([4]))]).tolist() == [0, 1, 2, 3, 1]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(12, 64), (12, 2, 32)], (12, 2, 32)),
        ([(2, 6), (6, 2)], (2, 3, 2)),
        ([(2, 3), (3, 2)], None),
        ([(6,), (1, 6)], (6,)),
        ([(1,), ()], (1,)),
    ],
)
def test_common_factors(shapes: list[tuple[int, ...]], expected: tuple[int, ...] | None) -> None:
    assert common_factors(shapes) == expected
