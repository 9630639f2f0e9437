"""Folders of arrays: one file a sample, a batch or an input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]


def test_a_folder_of_arrays_holds_samples_or_batches_and_their_classes(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["n", 2]), sr=("INT64", []))
    for name, rows in (("a/0", 1), ("a/1", 3), ("b/0", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.savez(tmp_path / f"{name}.npz", x=np.full((rows, 2), rows, np.float32), sr=np.array(8))
    samples = open_samples(tmp_path, model)
    assert len(samples) == 6
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 0, 0, 1, 1]
    (batch,) = samples.batches(8)
    assert batch["x"][:, 0].tolist() == [1, 3, 3, 3, 2, 2]


def test_a_folder_of_feeds_that_cannot_be_stacked_is_fed_file_by_file(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["batch", 2]), state=("FLOAT", [2, "b", 3]))
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=np.zeros((1, 2), np.float32), state=np.full((2, 1, 3), i, np.float32))
    samples = open_samples(tmp_path, model)
    assert [batch["state"].shape for batch in samples.batches(2)] == [(2, 1, 3)] * 3


def test_one_npy_for_each_input_is_an_unpacked_npz(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["n", 2]), y=("FLOAT", ["n"]))
    np.save(tmp_path / "x.npy", np.zeros((3, 2), np.float32))
    np.save(tmp_path / "y.npy", np.arange(3, dtype=np.float32))
    np.save(tmp_path / "labels.npy", np.arange(3))
    samples = open_samples(tmp_path, model)
    assert len(samples) == 3
    assert samples.labels is not None


def test_files_of_a_folder_that_differ_in_their_keys_are_named(tmp_path: Path, make: Make) -> None:
    np.savez(tmp_path / "0.npz", x=np.zeros(2), y=np.zeros(2))
    np.savez(tmp_path / "1.npz", x=np.zeros(2))
    with pytest.raises(InvalidDataError, match=r"1\.npz holds x; those before hold x, y"):
        open_samples(tmp_path, make(x=("FLOAT", ["n", 2]), y=("FLOAT", ["n", 2])))
