"""Batches fixed or free, samples stacked along the right axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.data.split import hold_back

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
    with pytest.raises(UsageError, match="3 samples, expected at least 4"):
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


SHARED_MODELS = (
    {"x": ("FLOAT", [4, 2]), "t": ("FLOAT", [1, 3])},
    {"t": ("FLOAT", [1, 3]), "x": ("FLOAT", [4, 2])},
    {"x": ("FLOAT", [4, 2]), "t": ("FLOAT", [])},
    {"x": ("FLOAT", [4, 2]), "t": ("FLOAT", [7, 3])},
    {"x": ("FLOAT", [4, 2]), "t": ("FLOAT", [2, 5, "k"])},
)


def _row(dims: list[int | str]) -> tuple[int, ...]:
    return tuple(6 if isinstance(d, str) else d for d in dims)


@pytest.mark.parametrize("inputs", SHARED_MODELS)
def test_an_input_without_a_batch_axis_is_given_once_or_by_sample_beside_a_fixed_batch(
    make: Make, inputs: dict[str, tuple[str, list[int | str]]]
) -> None:
    """Once: the input's own shape, for all runs. By sample: each run takes that of its first sample, which is said."""
    model, shape = make(**inputs), _row(inputs["t"][1])
    x = np.arange(24, dtype=np.float32).reshape(12, 2)
    once = np.full(shape, 3, np.float32)
    for batch in open_samples({"x": x, "t": once}, model).batches(1):
        assert batch["x"].shape == (4, 2)
        assert np.array_equal(batch["t"], once)
    each = np.broadcast_to(np.arange(12, dtype=np.float32).reshape(12, *(1 for _ in shape)), (12, *shape))
    samples = open_samples({"x": x, "t": each}, model)
    assert [float(batch["t"].reshape(-1)[0]) for batch in samples.batches(1)] == [0, 4, 8]
    assert samples.warnings == ["'t' is shared by a run: of each 4 samples the first one's is fed"]
    fit, held = hold_back(samples, 0.3)
    for part in (fit, held):
        for batch in part.batches(1):
            assert batch["x"][0, 0] == 2 * batch["t"].reshape(-1)[0], "a run stays together"
    few = open_samples({"x": x, "t": each}, model, max_samples=9)
    assert [batch["x"][0, 0] - 2 * batch["t"].reshape(-1)[0] for batch in few.batches(1)] == [0, 0]


def test_labels_are_not_read_against_an_input_that_their_sample_was_not_run_with(make: Make) -> None:
    model, x = make(x=("FLOAT", [2, 2]), t=("FLOAT", [1, 3])), np.zeros((4, 2), np.float32)
    pairs, labels = np.repeat(np.eye(3, dtype=np.float32)[:2, None], 2, axis=0), np.arange(4)
    samples = open_samples({"x": x, "t": pairs, "labels": labels}, model)
    assert [batch["t"].tolist() for batch in samples.batches(1)] == [[[1, 0, 0]], [[0, 1, 0]]]
    with pytest.raises(InvalidDataError, match="'t' must not change within a batch fixed at 2, because there are labels"):
        list(open_samples({"x": x, "t": pairs[[0, 2, 1, 3]], "labels": labels}, model).batches(1))


def test_the_batch_is_the_first_axis_of_an_input_that_the_data_do_not_fill_otherwise(make: Make) -> None:
    """Anchors beside pictures: with data that fit the usual reading, that is the one."""
    model = make(x=("FLOAT", [1, 3]), anchors=("FLOAT", [100, 4]))
    samples = open_samples({"x": np.zeros((5, 3), np.float32), "anchors": np.zeros((100, 4), np.float32)}, model)
    assert samples.fixed_batch == 1
    assert len(samples) == 5
    assert {batch["anchors"].shape for batch in samples.batches(1)} == {(100, 4)}
    with pytest.raises(InvalidDataError, match=r"'x' has samples of shape \(2,\), expected \(3,\)"):
        open_samples({"x": np.zeros((5, 2), np.float32), "anchors": np.zeros((100, 4), np.float32)}, model)


@pytest.mark.parametrize("dims", [["n", "t", 4], ["n", 2, "past", 4], ["n", "t"]])
def test_a_free_dimension_may_be_zero_and_a_fixed_one_may_not(make: Make, dims: list[int | str]) -> None:
    """An empty past, zero boxes: what the model leaves free is the data's to say."""
    shape = [3, *(0 if isinstance(d, str) else d for d in dims[1:])]
    samples = open_samples({"x": np.zeros(shape, np.float32)}, make(x=("FLOAT", dims)))
    assert [batch["x"].shape for batch in samples.batches(2)] == [(2, *shape[1:]), (1, *shape[1:])]
    assert len(samples.digests()) == 3
    fixed = make(x=("FLOAT", ["n", *(5 for _ in dims[1:])]))
    with pytest.raises(InvalidDataError, match="'x' has samples of shape"):
        open_samples({"x": np.zeros(shape, np.float32)}, fixed)
