"""Columns: whatever the storage, the rows of a chunk are ``array[chunk]``."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxslim.data.array_files import open_npy, open_npz
from onnxslim.data.columns import ArrayColumn, Column, FileColumn, concatenate_columns, read_all
from onnxslim.data.spool import Spool

DTYPES = st.sampled_from(["<f4", ">f8", "<f2", "|u1", "<i8", "|b1", "<U3"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray]]:
    """An array of rows, and chunks of indices to read, in any order and with repeats."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    dtype = np.dtype(draw(DTYPES))
    elements: dict[str, Any] = {"alphabet": "abé"} if dtype.kind == "U" else {}
    array = draw(hnp.arrays(dtype, shape, elements=st.text(max_size=3, **elements) if elements else None))
    index = st.integers(0, len(array) - 1)
    chunks = draw(st.lists(st.lists(index, min_size=1, max_size=7), min_size=1, max_size=4))
    if draw(st.booleans()):
        order = draw(st.lists(index, min_size=1, unique=True).map(sorted))
        cut = draw(st.integers(1, len(order)))
        chunks = [part for part in (order[:cut], order[cut:]) if part]
    return array, [np.array(chunk, dtype=np.intp) for chunk in chunks]


def assert_reads(column: Column, array: np.ndarray, chunks: Sequence[np.ndarray]) -> None:
    assert len(column) == len(array)
    assert column.shapes == {array.shape[1:]: 0}
    for got, chunk in zip(column.read(chunks), chunks, strict=True):
        assert isinstance(got, np.ndarray)
        assert got.astype(array.dtype).tobytes() == array[chunk].tobytes()
        assert got.shape == array[chunk].shape


@settings(deadline=None, max_examples=60)
@given(tables(), st.booleans(), st.booleans())
def test_an_npz_member_reads_as_numpy_loads_it(
    tmp_path_factory: pytest.TempPathFactory, table: Any, fortran: bool, compressed: bool
) -> None:
    array, chunks = table
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    stored = np.asfortranarray(array) if fortran else array
    (np.savez_compressed if compressed else np.savez)(path, other=np.zeros(3), x=stored)
    column = open_npz(path)["x"]
    with np.load(path) as loaded:
        assert_reads(column, loaded["x"], chunks)


@settings(deadline=None, max_examples=60)
@given(tables(), st.booleans())
def test_an_npy_file_reads_as_numpy_loads_it(tmp_path_factory: pytest.TempPathFactory, table: Any, fortran: bool) -> None:
    array, chunks = table
    path = tmp_path_factory.mktemp("npy") / "a.npy"
    np.save(path, np.asfortranarray(array) if fortran else array)
    assert_reads(open_npy(path), np.load(path), chunks)


@settings(deadline=None, max_examples=60)
@given(tables(), st.data())
def test_a_chain_and_a_spool_read_as_the_concatenation(table: Any, data: st.DataObject) -> None:
    array, chunks = table
    cuts = sorted(data.draw(st.lists(st.integers(1, max(len(array) - 1, 1)), max_size=3, unique=True)))
    parts = [part for part in np.split(array, cuts) if len(part)]
    spool = Spool("rows")
    for part in parts:
        spool.append(part)
    assert_reads(spool.to_column(), array, chunks)
    assert_reads(concatenate_columns([ArrayColumn(part) for part in parts], ["part"] * len(parts)), array, chunks)


@settings(deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_rows_of_different_shapes_come_back_as_they_were(sizes: list[int], random: Any) -> None:
    rows = [np.full((size, 2), number, np.float32) for number, size in enumerate(sizes)]
    spool = Spool("rows")
    for row in rows:
        spool.append(row[None])
    column = spool.to_column()
    assert column.shapes == {(size, 2): sizes.index(size) for size in sizes}
    order = [random.randrange(len(rows)) for _ in range(6)]
    for chunk, got in zip([order[:4], order[4:]], column.read([np.array(order[:4]), np.array(order[4:])]), strict=True):
        assert all(np.array_equal(a, rows[i]) for a, i in zip(got, chunk, strict=True))


@pytest.mark.parametrize("compressed", [False, True])
def test_reading_a_large_member_holds_one_chunk_in_memory(tmp_path: Path, compressed: bool) -> None:
    rows, size = 256, 1 << 16
    array = np.arange(rows, dtype=np.float32)[:, None] * np.ones(size, np.float32)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", x=array)
    column = open_npz(tmp_path / "a.npz")["x"]
    assert isinstance(column, FileColumn)
    random_order = np.random.default_rng(0).permutation(rows)
    for order in (np.arange(rows), random_order):
        tracemalloc.start()
        for chunk, got in zip(np.split(order, 64), column.read(np.split(order, 64)), strict=True):
            assert np.array_equal(np.asarray(got)[:, -1], chunk)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < array.nbytes / 8, f"{peak} bytes for a chunk of {4 * size * 4}"


def test_all_rows_at_once_are_the_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(5))
    column = open_npz(tmp_path / "a.npz")["x"]
    assert isinstance(column, FileColumn)
    assert read_all(column).tolist() == [0, 1, 2, 3, 4]
