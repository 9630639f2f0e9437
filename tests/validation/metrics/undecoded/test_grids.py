"""Where cells lie, told by maps' axes or found out from the values of a list."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from onnxslim.validation.metrics.undecoded.grids import Places, has_channels_last, locate_cells


def draw_map(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Values (2, height, width, channels) that are smooth in space."""
    return ndimage.gaussian_filter(rng.normal(size=(2, height, width, channels)), (0, 1.2, 1.2, 0))


def draw_list(grids: list[tuple[int, int]], anchors: int) -> np.ndarray:
    """The cells of such grids one after the other, (2, K, 7)."""
    rng = np.random.default_rng(0)
    parts = []
    for height, width in grids:
        maps = [draw_map(rng, height, width, 7).reshape(2, -1, 7) for _ in range(anchors)]
        parts.append(np.stack(maps, axis=2).reshape(2, -1, 7))
    return np.concatenate(parts, axis=1)


def locate(values: np.ndarray) -> Places:
    return locate_cells(values.shape, values.shape[2], values)


@pytest.mark.parametrize(
    "grids",
    [
        [(52, 52), (26, 26), (13, 13)],
        [(20, 40), (10, 20)],
        [(12, 16)],
        [(5, 7), (10, 14), (20, 28)],
        [(40, 40), (20, 20), (10, 10), (5, 5), (3, 3)],
    ],
)
@pytest.mark.parametrize("anchors", [1, 3])
def test_the_grids_of_a_list_are_found(grids: list[tuple[int, int]], anchors: int) -> None:
    expected = [np.repeat(Places.of_grid(height, width).centers, anchors, axis=0) for height, width in grids]
    assert np.allclose(locate(draw_list(grids, anchors)).centers, np.concatenate(expected))


def test_values_that_are_smooth_in_no_grid_are_one_row() -> None:
    values = np.random.default_rng(0).normal(size=(2, 300, 7))
    assert np.array_equal(locate(values).centers, Places.of_grid(1, 300).centers)
    for nothing in (np.zeros((2, 300, 7)), np.full((2, 300, 7), np.nan)):
        assert np.array_equal(locate(nothing).centers, Places.of_grid(1, 300).centers)


def test_maps_say_where_their_cells_lie() -> None:
    values = np.zeros((1, 4 * 6 * 2, 7))
    grid = Places.of_grid(4, 6).centers
    beside, by_grid = np.repeat(grid, 2, axis=0), np.tile(grid, (2, 1))
    assert np.array_equal(locate_cells((1, 14, 4, 6), 7, values).centers, beside)
    assert np.array_equal(locate_cells((1, 2, 4, 6, 7), 7, values).centers, by_grid)
    values = np.zeros((1, 100 * 2, 7))
    grid = np.repeat(Places.of_grid(10, 10).centers, 2, axis=0)
    assert np.array_equal(locate_cells((1, 10, 10, 14), 7, values).centers, grid)
    assert np.array_equal(locate_cells((1, 10, 10, 2, 7), 7, values).centers, grid)


def test_a_map_whose_only_square_comes_first_has_its_channels_last() -> None:
    assert has_channels_last((1, 6, 6, 9))
    assert not has_channels_last((1, 9, 6, 6))
    assert not has_channels_last((1, 6, 6, 6))


def test_neighbors_touch_each_other_also_across_grids() -> None:
    places = Places.join([Places.of_grid(8, 8), Places.of_grid(4, 4)])
    near = places.are_neighbors()
    assert near.shape == (80, 80)
    assert near.diagonal().all()
    assert np.array_equal(near, near.T)
    for first, second in itertools.product(range(64), repeat=2):
        down, across = abs(first // 8 - second // 8), abs(first % 8 - second % 8)
        assert near[first, second] == (max(down, across) <= 1)
    # a cell, the coarser one that it lies in and those beside that
    assert np.flatnonzero(near[0, 64:]).tolist() == [0, 1, 4, 5]
    assert places.pick(np.array([0, 79])).are_neighbors().tolist() == [[True, False], [False, True]]
