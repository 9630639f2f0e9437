"""Samples are cut off behind what a mask lets the model read, and only where it then gives the same."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.padding import trim_padding
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.masked_graphs import LENGTHS, MASKED_SUM, READ, X
from tests.support.onnx_text import build, floats

#: a layer and one that reads it, place by place
FEED_FORWARD = "u = MatMul (x, w) h = Add (u, b) a = Relu (h) z = MatMul (a, v)\n    "
#: the same over how many places there are
MEAN = MASKED_SUM.replace("ReduceSum (taken, places)", "ReduceMean <axes = [1]> (taken)")


def trim(body: str, flags: np.ndarray = READ, places: str = "s") -> tuple[Samples, Samples]:
    model = build(f"(float[n,{places},4] x, int64[n,{places}] flags) => (float[n,{places},4] y) {{ {body} }}")
    samples = open_samples({"x": X, "flags": flags.astype(np.int64)}, model)
    return samples, trim_padding(model, samples, SessionConfig())


def find_number(x: np.ndarray) -> int:
    """Which sample ``x`` is the beginning of."""
    return next(number for number, row in enumerate(X) if np.array_equal(row[: LENGTHS[number]], x))


def test_samples_end_where_the_mask_does_those_of_one_length_in_one_run() -> None:
    _, trimmed = trim(MASKED_SUM)
    batches = list(trimmed.batches(8))
    assert len(batches) == len(set(LENGTHS.tolist()))
    assert batches[0]["x"].shape == (2, 5, 4)
    assert sorted(find_number(x) for batch in batches for x in batch["x"]) == list(range(6))
    assert all(batch["flags"].all() and batch["flags"].shape == batch["x"].shape[:2] for batch in batches)


def test_the_first_few_of_many_are_of_all_lengths() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 33, 1000)
    x, flags = rng.standard_normal((1000, 32, 4)).astype(np.float32), np.arange(32) < lengths[:, None]
    model = build(f"(float[n,s,4] x, int64[n,s] flags) => (float[n,s,4] y) {{ {MASKED_SUM} }}")
    trimmed = trim_padding(model, open_samples({"x": x, "flags": flags.astype(np.int64)}, model), SessionConfig())
    found = [len(row) for batch in trimmed.batches(16) for row in batch["x"]]
    assert found[0] == 32
    assert sorted(found) == sorted(lengths.tolist())
    assert 12 < np.mean(found[:200]) < 21
    assert sum(1 for _ in trimmed.batches(16)) < 200


def test_a_part_of_the_samples_is_cut_at_its_own_places() -> None:
    model = build(f"(float[n,s,4] x, int64[n,s] flags) => (float[n,s,4] y) {{ {MASKED_SUM} }}")
    part = open_samples({"x": X, "flags": READ.astype(np.int64)}, model).take([5, 3])
    batches = list(trim_padding(model, part, SessionConfig()).batches(1))
    np.testing.assert_array_equal(batches[0]["x"][0], X[3, :4])
    np.testing.assert_array_equal(batches[1]["x"][0], X[5, :1])


def test_what_is_read_stays_what_it_was() -> None:
    samples, trimmed = trim(MASKED_SUM)
    session = Session(build(f"(float[n,s,4] x, int64[n,s] flags) => (float[n,s,4] y) {{ {MASKED_SUM} }}"), SessionConfig())
    (full,) = (session.run(dict(batch))["y"] for batch in samples.batches(8))
    cut = [row for batch in trimmed.batches(1) for row in session.run(dict(batch))["y"]]
    numbers = [find_number(x) for batch in trimmed.batches(1) for x in batch["x"]]
    for number, found in zip(numbers, cut, strict=True):
        np.testing.assert_allclose(found, full[number, : LENGTHS[number]], rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "flags", "places"),
    [
        (MEAN, READ, "s"),
        (MASKED_SUM, READ[:, ::-1], "s"),
        (MASKED_SUM, np.ones_like(READ), "s"),
        (MASKED_SUM, READ, "5"),
    ],
    ids=["a count of places", "padding in front", "no padding", "a fixed size"],
)
def test_samples_stay_as_they_are(body: str, flags: np.ndarray, places: str) -> None:
    samples, trimmed = trim(body, flags, places)
    assert trimmed is samples


def test_pruning_padded_samples_is_pruning_them_without_padding() -> None:
    weights = {"w": floats(4, 32), "b": floats(32), "v": floats(32, 4)}
    body = f"{MASKED_SUM.replace('Add (x, total)', 'Add (z, total)')}".replace("taken =", FEED_FORWARD + "taken =")
    model = build(f"(float[n,s,4] x, int64[n,s] flags) => (float[n,s,4] y) {{ {body} }}", **weights)
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 17, 60)
    x, flags = rng.standard_normal((60, 16, 4)).astype(np.float32), np.arange(16) < lengths[:, None]
    samples = open_samples({"x": x, "flags": flags.astype(np.int64)}, model)
    trimmed = trim_padding(model, samples, SessionConfig())
    assert trimmed is not samples
    options = PruneOptions(remove=0.3, of="params", round_to=1)
    padded, without = (model_file.to_bytes(prune(model, data, options)[0]) for data in (samples, trimmed))
    assert padded == without
