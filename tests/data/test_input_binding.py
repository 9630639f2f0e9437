"""Batches fixed or free, samples stacked along the right axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]


def test_a_batch_fixed_at_one_is_fed_one_by_one(make: Make) -> None:
    samples = open_samples(np.zeros((3, 4), np.float32), make(x=("FLOAT", [1, 4])))
    assert samples.fixed_batch == 1
    assert [batch["x"].shape for batch in samples.batches(8)] == [(1, 4)] * 3


def test_a_batch_fixed_at_n_is_filled_and_the_remainder_said(make: Make) -> None:
    source = {"x": np.arange(10, dtype=np.float32), "labels": np.arange(10)}
    samples = open_samples(source, make(x=("FLOAT", [4])))
    assert samples.fixed_batch == 4
    assert len(samples) == 8
    assert samples.labels is not None
    assert samples.labels.tolist() == list(range(8))
    assert [batch["x"].tolist() for batch in samples.batches(1)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert samples.warnings == ["arrays in memory: the model's batch is fixed at 4; 2 samples left out"]
    assert len(samples.take([5, 1, 2, 3, 4])) == 4
    with pytest.raises(InvalidDataError, match="3 samples, expected at least 4"):
        samples.take([0, 1, 2])


def test_a_sample_of_the_inputs_own_rank_is_fed_as_it_is(make: Make) -> None:
    model = make(x=("FLOAT", ["batch", 4]), state=("FLOAT", [2, "b", 3]))
    state = np.random.default_rng(0).standard_normal((5, 2, 1, 3)).astype(np.float32)
    samples = open_samples({"x": np.zeros((5, 4), np.float32), "state": state}, model)
    assert samples.fixed_batch == 1
    for i, batch in enumerate(samples.batches(8)):
        assert batch["x"].shape == (1, 4)
        assert np.array_equal(batch["state"], state[i])


def test_samples_are_stacked_along_the_axis_named_like_the_batch(make: Make) -> None:
    model = make(x=("FLOAT", ["batch", 4]), state=("FLOAT", [2, "batch", 3]))
    state = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    samples = open_samples({"x": np.zeros((5, 4), np.float32), "state": state}, model)
    first, second = samples.batches(3)
    assert first["state"].shape == (2, 3, 3)
    assert first["state"].flags.c_contiguous
    assert np.array_equal(np.concatenate([first["state"], second["state"]], axis=1), state.swapaxes(0, 1))


def test_a_single_value_goes_with_every_sample_and_a_change_of_it_ends_a_batch(make: Make) -> None:
    model = make(x=("FLOAT", ["batch", 2]), sr=("INT64", []))
    x = np.zeros((5, 2), np.float32)
    whole = list(open_samples({"x": x, "sr": np.array(16000)}, model).batches(4))
    assert [batch["x"].shape[0] for batch in whole] == [4, 1]
    assert all(batch["sr"].shape == () and batch["sr"] == 16000 for batch in whole)
    changing = list(open_samples({"x": x, "sr": np.array([8, 8, 16, 16, 16])}, model).batches(4))
    assert [(batch["x"].shape[0], int(batch["sr"])) for batch in changing] == [(2, 8), (2, 16), (1, 16)]
