"""Samples of one shape or of many are packed into an archive and read from it as they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.readers.npz import SHAPES_SUFFIX, pack_ragged, write_npz
from onnxslim.data.sources import open_samples
from tests.support.feeds import row_lists

Make = Callable[..., ir.Model]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=6))
def test_packed_samples_hold_every_element_and_shape(shapes: list[tuple[int, int]]) -> None:
    samples = [np.random.default_rng(i).standard_normal(shape).astype(np.float32) for i, shape in enumerate(shapes)]
    packed = pack_ragged("x", samples)
    if SHAPES_SUFFIX not in "".join(packed):
        np.testing.assert_array_equal(packed["x"], np.stack(samples))
        return
    assert [tuple(shape) for shape in packed["x" + SHAPES_SUFFIX]] == shapes
    np.testing.assert_array_equal(packed["x"], np.concatenate([sample.ravel() for sample in samples]))


def test_samples_of_many_lengths_come_back_from_the_file(tmp_path: Path, make: Make) -> None:
    samples = [np.arange(length, dtype=np.float32) for length in (3, 1, 3, 2)]
    write_npz(tmp_path / "x.npz", pack_ragged("x", samples))
    found = open_samples(tmp_path / "x.npz", make(x=("FLOAT", ["batch", "length"])))
    assert sorted(row_lists(found)) == sorted(sample.tolist() for sample in samples)


def test_shapes_that_do_not_add_up_are_refused(tmp_path: Path, make: Make) -> None:
    write_npz(tmp_path / "x.npz", {"x": np.zeros(5, np.float32), "x.shapes": np.array([[3], [3]])})
    with pytest.raises(InvalidDataError, match="'x' of"):
        open_samples(tmp_path / "x.npz", make(x=("FLOAT", ["batch", "length"])))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_input_of_no_rows_is_read_as_what_every_run_takes(tmp_path: Path, make: Make, save: Callable[..., None]) -> None:
    save(tmp_path / "x.npz", x=np.zeros((3, 2), np.float32), past=np.zeros((0, 4), np.float32))
    samples = open_samples(tmp_path / "x.npz", make(x=("FLOAT", ["n", 2]), past=("FLOAT", [0, 4])))
    assert [(batch["x"].shape, batch["past"].shape) for batch in samples.batches(1)] == [((1, 2), (0, 4))] * 3
