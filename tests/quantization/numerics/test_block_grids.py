"""Grids of blocks: what zero points gain, what tiny weights keep, and how formats are written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.numerics.block_grids import BlockFormat, search_grid
from onnxslim.quantization.numerics.blockwise import quantize_nearest

FORMATS = st.builds(BlockFormat, st.sampled_from([2, 4, 8]), st.sampled_from([16, 32, 64, 128]), st.booleans())


@given(FORMATS)
def test_a_format_is_read_as_it_is_written(block_format: BlockFormat) -> None:
    assert BlockFormat.parse(str(block_format)) == block_format


@pytest.mark.parametrize("text", ["int3:32", "int4:33", "int4:8", "int4", "uint8:", "4:32", "int4:32:2"])
def test_what_is_no_format_is_none(text: str) -> None:
    assert BlockFormat.parse(text) is None


@settings(max_examples=30, deadline=None)
@given(FORMATS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**31))
def test_codes_are_within_the_bits_and_zero_stays_zero(block_format: BlockFormat, rows: int, blocks: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((rows, blocks, block_format.block_size)).astype(np.float32)
    values[:, 0, :3] = 0
    grid = search_grid(values, block_format.bits, has_zero_point=block_format.has_zero_point)
    for codes in (grid.codes, grid.zero_points):
        assert codes.min() >= 0
        assert codes.max() <= 2**block_format.bits - 1
        np.testing.assert_array_equal(codes, np.rint(codes))
    assert np.all(grid.codes[:, 0, :3] == grid.zero_points[:, 0, None])  # what is padded must add nothing


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([2, 4]), st.floats(-2, 2), st.integers(0, 2**31))
def test_a_zero_point_never_loses(bits: int, mean: float, seed: int) -> None:
    values = (np.random.default_rng(seed).standard_normal((4, 2, 32)) + mean).astype(np.float32)
    errors = []
    for has_zero_point in (False, True):
        grid = search_grid(values, bits, has_zero_point=has_zero_point)
        stood_for = (grid.codes - grid.zero_points[:, :, None]) * grid.scales[:, :, None]
        errors.append(np.square(stood_for - values).sum(axis=2))
    assert np.all(errors[1] <= errors[0] * (1 + 1e-5))
    assert abs(mean) < 1.5 or errors[1].sum() < 0.9 * errors[0].sum()


def test_weights_next_to_nothing_keep_their_digits() -> None:
    values = 1e-6 * np.random.default_rng(0).standard_normal((1, 1, 32)).astype(np.float32)
    grid = search_grid(values, 4)
    stood_for = (grid.codes - grid.zero_points[:, :, None]) * grid.scales[:, :, None]
    assert np.square(stood_for - values).sum() < 0.02 * np.square(values).sum()


@settings(max_examples=30, deadline=None)
@given(FORMATS, st.integers(1, 300), st.integers(1, 5))
def test_bytes_are_those_of_the_arrays(block_format: BlockFormat, inputs: int, outputs: int) -> None:
    found = quantize_nearest(np.ones((outputs, inputs), np.float32), block_format)
    zero_bytes = 0 if found.zero_points is None else found.zero_points.nbytes
    assert block_format.count_bytes(outputs, inputs) == found.codes.nbytes + found.scales.nbytes + zero_bytes
