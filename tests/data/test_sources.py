"""Opening data: every spelling of the same data is the same samples, and what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.sources import READERS, open_samples

Make = Callable[..., ir.Model]
X = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.fixture
def two(make: Make) -> ir.Model:
    """Two inputs: ``x`` float32 (batch, 6), ``n`` int64 (batch, 2)."""
    return make(x=("FLOAT", ["batch", 6]), n=("INT64", ["batch", 2]))


@pytest.fixture
def one(make: Make) -> ir.Model:
    """One input: ``x`` float32 (batch, 6)."""
    return make(x=("FLOAT", ["batch", 6]))


def rows(samples: Any, name: str = "x") -> np.ndarray:
    return np.concatenate([batch[name] for batch in samples.batches(3)])


class Reader:
    """A calibration data reader as onnxruntime defines it: feeds until None."""

    def __init__(self, feeds: list[Any]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Any:
        return next(self.feeds, None)


def test_a_lone_array_may_have_any_name(tmp_path: Path, one: ir.Model) -> None:
    np.savez(tmp_path / "a.npz", X)
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "folder").mkdir()
    for i, row in enumerate(X):
        np.save(tmp_path / "folder" / f"{i}.npy", row)
    spellings: list[Any] = [
        X,
        X.tolist(),
        {"anything": X},
        tmp_path / "a.npz",
        str(tmp_path / "a.npy"),
        tmp_path / "folder",
        iter(X),
        [(row,) for row in X],
        [X[:3], X[3:]],
        ({"anything": row[None]} for row in X),
        Reader([{"x": X[:1]}, {"x": X[1:]}]),
    ]
    for spelling in spellings:
        samples = open_samples(spelling, one)
        assert np.array_equal(rows(samples), X), samples.source
        assert samples.input_names == ["x"]
        assert samples.shapes == {"x": (6,)}


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


def test_a_model_whose_input_is_called_labels_gets_it(make: Make) -> None:
    model = make(x=("FLOAT", ["n", 6]), labels=("INT64", ["n"]))
    samples = open_samples({"x": X, "labels": np.arange(4)}, model)
    assert samples.labels is None
    assert samples.input_names == ["x", "labels"]


def test_an_input_with_a_default_may_be_left_out(make: Make) -> None:
    model = make(x=("FLOAT", ["n", 6]), scale=("FLOAT", []))
    scale = next(v for v in model.graph.inputs if v.name == "scale")
    scale.const_value = ir.tensor(np.float32(2), name="scale")
    model.graph.register_initializer(scale)
    assert open_samples({"x": X}, model).input_names == ["x"]
    assert open_samples(X, model).input_names == ["x"]
    assert open_samples({"x": X, "scale": np.float32(3)}, model).input_names == ["x", "scale"]


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


def test_images_as_bytes_come_with_the_hint_to_normalise(one: ir.Model) -> None:
    with pytest.raises(InvalidDataError) as caught:
        open_samples(X.astype(np.uint8), one)
    assert "--preprocess" in (caught.value.hint or "")


def test_a_missing_label_key_is_named(one: ir.Model) -> None:
    with pytest.raises(InvalidDataError, match="--labels y: there is no such key, only 'x'"):
        open_samples({"x": X}, one, labels="y")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "no data given"),
        ("missing.npz", "missing.npz: No such file"),
        ("missing", "missing: no such file or folder"),
        ("/dev/null", "is not data this tool reads"),
        (3, "3 is not data this tool reads"),
    ],
)
def test_a_source_that_is_none_is_a_usage_error(one: ir.Model, source: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_samples(source, one)


def test_options_that_do_not_apply_are_usage_errors(one: ir.Model) -> None:
    with pytest.raises(UsageError, match="--preprocess applies to image folders"):
        open_samples(X, one, preprocess="crop=3")
    with pytest.raises(UsageError, match="--max-samples 0: expected at least 1"):
        open_samples(X, one, max_samples=0)


def test_max_samples_draws_a_seeded_sample_in_proportion_to_the_labels(one: ir.Model) -> None:
    x = np.arange(600, dtype=np.float32).reshape(100, 6)
    labels = np.repeat([0, 1], [90, 10])
    samples = open_samples({"x": x, "labels": labels}, one, max_samples=20, seed=3)
    assert samples.labels is not None
    assert np.bincount(samples.labels).tolist() == [18, 2]
    assert samples.source == "arrays in memory, 20 of 100 samples (seed 3)"
    again = open_samples({"x": x, "labels": labels}, one, max_samples=20, seed=3)
    assert np.array_equal(rows(samples), rows(again))
    other = open_samples({"x": x, "labels": labels}, one, max_samples=20, seed=4)
    assert not np.array_equal(rows(samples), rows(other))
    assert len(open_samples(X, one, max_samples=50)) == 4


def test_the_caller_s_arrays_are_not_changed_and_not_handed_out(one: ir.Model) -> None:
    mine = X.copy()
    (batch,) = open_samples(mine, one).batches(8)
    batch["x"][:] = 0
    assert np.array_equal(mine, X)


def test_a_model_without_inputs_or_with_a_sequence_cannot_be_fed(make: Make) -> None:
    with pytest.raises(UnsupportedError, match="takes no inputs"):
        open_samples(X, make())
    model = make(x=("FLOAT", ["n"]))
    model.graph.inputs[0].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(UnsupportedError, match="input 'x' is Sequence"):
        open_samples(X, model)


def test_an_input_of_unknown_rank_is_stacked_along_its_first_axis(make: Make) -> None:
    samples = open_samples(X, make(x=("FLOAT", None)))
    assert [batch["x"].shape for batch in samples.batches(3)] == [(3, 6), (1, 6)]


def test_groups_come_from_a_key_or_from_the_caller(one: ir.Model) -> None:
    samples = open_samples({"x": X, "who": np.array(list("aabb"))}, one, group="who")
    assert samples.groups is not None
    assert samples.take([3, 0]).groups.tolist() == ["b", "a"]  # type: ignore[union-attr]
    with pytest.raises(InvalidDataError, match=r"groups of shape \(3,\), expected one for each of 4 samples"):
        open_samples(X, one, group=np.arange(3))


def test_every_reader_says_what_it_takes_and_how() -> None:
    for reader in READERS:
        assert reader.accepts.__doc__
        assert reader.read.__doc__
