"""Iterables and readers: items are samples or whole feeds, drained once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]


@pytest.fixture
def recurrent(make: Make) -> ir.Model:
    """As voice detectors have it: a chunk, a state with the batch in the middle, a rate."""
    return make(x=("FLOAT", ["batch", "time"]), state=("FLOAT", [2, "batch", 3]), sr=("INT64", []))


def feed(count: int, value: float = 0) -> dict[str, Any]:
    return {
        "x": np.full((count, 5), value, np.float32),
        "state": np.arange(2 * count * 3, dtype=np.float32).reshape(2, count, 3),
        "sr": 8000,
    }


def test_whole_feeds_are_taken_apart_along_the_batch_axis_of_each_input(recurrent: ir.Model) -> None:
    samples = open_samples([feed(3), feed(1, 7)], recurrent)
    assert len(samples) == 4
    first, last = samples.take([0, 1, 2]).batches(9), samples.take([3]).batches(9)
    for got, given in zip([*first, *last], [feed(3), feed(1, 7)], strict=True):
        assert all(np.array_equal(got[name], given[name]) for name in given)


def test_a_generator_is_drained_once_and_may_reuse_its_buffer(make: Make) -> None:
    buffer = np.zeros(3, np.float32)
    opened = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal opened
        opened += 1
        for value in range(5):
            buffer[:] = value
            yield buffer

    samples = open_samples(stream(), make(x=("FLOAT", ["n", 3])))
    for _ in range(2):
        assert np.concatenate([b["x"] for b in samples.batches(2)])[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert opened == 1


def test_a_dataset_has_a_length_and_items(make: Make) -> None:
    class Dataset:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return np.full(2, index, np.float32), 10 * index

    samples = open_samples(Dataset(), make(x=("FLOAT", ["n", 2])))
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 10, 20]


def test_one_label_of_a_whole_feed_must_be_for_all_of_it(make: Make) -> None:
    model = make(x=("FLOAT", ["n", 3]))
    samples = open_samples([{"x": np.zeros((2, 3)), "labels": 7}, {"x": np.ones((1, 3)), "labels": [4]}], model)
    assert samples.labels is not None
    assert samples.labels.tolist() == [7, 7, 4]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "the list gave no samples"),
        (
            [{"x": np.zeros(3)}, {"x": np.zeros(3), "labels": 1}],
            "item 1 of the list has x, labels; those before have x",
        ),
        ([(np.zeros(3), 1, 2)], "item 0 of the list has 3 arrays, expected x and at most a label"),
        ([np.zeros(3), object()], "item 1 of the list is a object, expected an array"),
        ([np.zeros(3), np.zeros(4)], r"'x' has samples of shape \(4,\), expected \(3,\)"),
        ([np.zeros(3), np.zeros(3, int)], "is int64, .* is float64"),
        (
            [(np.zeros(3), [1]), (np.zeros(3), [1, 2])],
            r"'labels' has labels of different shapes: \(1,\), \(2,\)",
        ),
        ([[1, [2, 3]]], "item 0 of the list is not an array"),
    ],
)
def test_items_that_are_no_samples_are_named(make: Make, items: list[Any], message: str) -> None:
    with pytest.raises(InvalidDataError, match=message):
        open_samples(items, make(x=("FLOAT", ["n", 3])))


def test_one_array_is_not_enough_for_two_inputs(recurrent: ir.Model) -> None:
    with pytest.raises(InvalidDataError, match=r"item 0 of the list is one array, expected .* x, state, sr"):
        open_samples([np.zeros(3)], recurrent)


def test_a_reader_that_raises_is_an_error_of_the_data(make: Make) -> None:
    class Broken:
        def get_next(self) -> None:
            raise KeyError("pixels")

    with pytest.raises(InvalidDataError, match="the Broken raised KeyError: 'pixels'"):
        open_samples(Broken(), make(x=("FLOAT", ["n", 3])))
