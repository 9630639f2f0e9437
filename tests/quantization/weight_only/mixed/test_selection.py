"""Which point of a front is taken."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import GateError
from onnxslim.quantization.numerics.bit_allocation import Allocation
from onnxslim.quantization.weight_only.mixed.selection import MAX_SKETCHES, select_by_size, thin_front

STEPS = st.lists(st.integers(1, 50), min_size=1, max_size=20)


def make_front(steps: list[int]) -> list[Allocation]:
    sizes = list(itertools.accumulate(steps))
    return [Allocation((index,), float(size), 1.0 / (index + 1) ** 2) for index, size in enumerate(sizes)]


@given(STEPS, st.integers(0, 2000), st.integers(0, 90))
def test_the_largest_file_that_is_small_enough_is_found(steps: list[int], asked: int, besides: int) -> None:
    front, measured = make_front(steps), []

    def measure(index: int) -> int:
        measured.append(index)
        return int(front[index].nbytes) + besides

    sizes = [int(point.nbytes) + besides for point in front]
    if sizes[0] > asked:
        with pytest.raises(GateError, match=f"the smallest .* is {sizes[0]} bytes"):
            select_by_size(front, asked, measure)
        return
    index = select_by_size(front, asked, measure)
    assert index == max(i for i, size in enumerate(sizes) if size <= asked)
    assert len(measured) <= MAX_SKETCHES + 1


def test_a_size_is_kept_where_what_is_besides_differs() -> None:
    front = make_front([100] * 20)
    sizes = [int(point.nbytes) + 7 * index for index, point in enumerate(front)]
    index = select_by_size(front, 1500, lambda i: sizes[i])
    assert sizes[index] <= 1500
    assert sizes[min(index + 2, 19)] > 1500


@given(STEPS)
def test_points_that_are_judged_begin_and_end_with_the_front(steps: list[int]) -> None:
    front = make_front(steps)
    thinned = thin_front(front)
    assert (thinned[0], thinned[-1]) == (0, len(front) - 1)
    assert thinned == sorted(set(thinned))
