"""Columns become samples: names, labels and groups are bound to the model's inputs and checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]
X = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.fixture
def two(make: Make) -> ir.Model:
    """Two inputs: ``x`` float32 (batch, 6), ``n`` int64 (batch, 2)."""
    return make(x=("FLOAT", ["batch", 6]), n=("INT64", ["batch", 2]))


def test_labels_come_from_their_key_from_the_caller_or_from_the_end_of_a_tuple(tmp_path: Path, one: ir.Model) -> None:
    y = np.array([3, 1, 2, 0])
    np.savez(tmp_path / "a.npz", x=X, labels=y, other=y + 1)
    np.savez(tmp_path / "b.npz", x=X, labels=y)
    spellings: list[Any] = [
        tmp_path / "b.npz",
        {"x": X, "labels": y},
        {"x": X, "labels": y[:, None]},
        list(zip(X, y, strict=True)),
        [(X[:2], y[:2]), (X[2:], y[2:])],
        [{"x": x, "labels": label} for x, label in zip(X, y, strict=True)],
    ]
    for spelling in spellings:
        labels = open_samples(spelling, one).labels
        assert labels is not None
        assert labels.tolist() == y.tolist()
    assert open_samples({"x": X, "other": y}, one, labels="other").labels.tolist() == y.tolist()  # type: ignore[union-attr]
    assert open_samples(X, one, labels=y).labels.tolist() == y.tolist()  # type: ignore[union-attr]
    assert open_samples(X, one).labels is None
    with pytest.raises(InvalidDataError, match="'other' is not an input"):
        open_samples(tmp_path / "a.npz", one)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"x": X}, "have 'x'|has 'x'; the model expects 'x' float\\[batch,6\\], 'n' int64\\[batch,2\\]"),
    ({"x": X, "m": X}, "'x', 'm'; the model expects"),
    ({"x": X, "n": np.zeros((4, 2), int), "extra": X}, "'extra' is not an input of the model"),
    ({"x": X.astype(np.uint8), "n": np.zeros((4, 2), int)}, "'x' is uint8, expected float"),
    ({"x": X.astype(int), "n": np.zeros((4, 2), int)}, "'x' is int64, expected float"),
    ({"x": X, "n": np.zeros((4, 2))}, "'n' is float64, expected int64"),
    ({"x": X > 1, "n": np.zeros((4, 2), int)}, "'x' is bool, expected float"),
    ({"x": X.astype(complex), "n": np.zeros((4, 2), int)}, "'x' is complex128, expected float"),
    ({"x": X.astype(str), "n": np.zeros((4, 2), int)}, "'x' is str.*, expected float"),
    (
        {"x": np.array([None] * 4), "n": np.zeros((4, 2), int)},
        "'x' is a ndarray, expected an array of numbers",
    ),
    ({"x": X[:, :5], "n": np.zeros((4, 2), int)}, r"'x' has samples of shape \(5,\), expected \(6,\)"),
    (
        {"x": X.reshape(4, 2, 3), "n": np.zeros((4, 2), int)},
        r"'x' has samples of shape \(2, 3\), expected \(6,\)",
    ),
    ({"x": X, "n": np.zeros((4,), int)}, r"'n' has samples of shape \(\), expected \(2,\)"),
    ({"x": X, "n": np.zeros((3, 2), int)}, "'n' has 3 samples, 'x' has 4"),
    ({"x": X[:0], "n": np.zeros((0, 2), int)}, "no samples"),
    ({"x": X, "n": np.zeros((4, 2), int), "labels": np.arange(3)}, "3 labels for 4 samples"),
    ({"x": X, "n": np.zeros((4, 2), int), "labels": np.array(1)}, "'labels' is a single value"),
    (
        {"x": X, "n": np.zeros((4, 2), int), "labels": np.array(list("abcd"))},
        "labels are str.*, expected numbers",
    ),
    ({"x": X, "n": np.zeros((4, 2), int), "labels": np.array([0, 1, np.nan, 3])}, "label 2 is not finite"),
]


@pytest.mark.parametrize(("source", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_data_that_do_not_fit_are_refused_before_anything_runs(
    tmp_path: Path, two: ir.Model, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidDataError, match=message):
        open_samples(source, two)
    if not any(np.asarray(value).dtype.hasobject for value in source.values()):
        np.savez(tmp_path / "a.npz", **source)
        with pytest.raises(InvalidDataError, match=message):
            open_samples(tmp_path / "a.npz", two)


def test_a_missing_label_key_is_named(one: ir.Model) -> None:
    with pytest.raises(InvalidDataError, match="--labels y: there is no such key, only 'x'"):
        open_samples({"x": X}, one, labels="y")


def test_groups_come_from_a_key_or_from_the_caller(one: ir.Model) -> None:
    samples = open_samples({"x": X, "who": np.array(list("aabb"))}, one, group="who")
    assert samples.groups is not None
    assert samples.take([3, 0]).groups.tolist() == ["b", "a"]  # type: ignore[union-attr]
    with pytest.raises(InvalidDataError, match=r"groups of shape \(3,\), expected one for each of 4 samples"):
        open_samples(X, one, group=np.arange(3))
