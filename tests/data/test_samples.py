"""Samples: batches of any size are the same samples, in the model's ranks and dtypes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]


@pytest.fixture(scope="session")
def free(make: Make) -> ir.Model:
    """Two inputs with a free batch."""
    return make(x=("FLOAT", ["batch", 3]), n=("INT64", ["batch", "k"]))


def arrays(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((count, 3)).astype(np.float32), "n": rng.integers(0, 9, (count, 4))}


def joined(samples: Samples, size: int) -> dict[str, np.ndarray]:
    batches = list(samples.batches(size))
    assert [i for batch in batches for i in batch.indices] == list(range(len(samples)))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in samples.input_names}


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 25), st.data())
def test_batches_of_any_size_concatenate_to_what_was_taken(
    free: ir.Model, count: int, size: int, data: st.DataObject
) -> None:
    given_arrays = arrays(count)
    samples = open_samples(given_arrays, free)
    first = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=30))
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=30))
    for view, order in (
        (samples, np.arange(count)),
        (samples.take(first), np.array(first)),
        (samples.take(first).take(second), np.array(first)[second]),
    ):
        got = joined(view, size)
        assert len(view) == len(order)
        for name, array in given_arrays.items():
            assert np.array_equal(got[name], array[order])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(0, 99))
def test_the_digest_of_a_sample_depends_on_its_contents_only(
    tmp_path_factory: pytest.TempPathFactory, free: ir.Model, count: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("digests")
    source = arrays(count, seed)
    np.savez(folder / "a.npz", **source)
    (folder / "files").mkdir()
    for i in range(count):
        np.savez_compressed(folder / "files" / f"{i:03}.npz", **{k: v[i] for k, v in source.items()})
    wide = {k: v.astype(">f8" if v.dtype.kind == "f" else ">i4") for k, v in source.items()}
    spellings: list[Any] = [
        source,
        wide,
        folder / "a.npz",
        folder / "files",
        [{k: v[i] for k, v in source.items()} for i in range(count)],
        [tuple(source.values())],
        iter([{k: v[i : i + 1] for k, v in source.items()} for i in range(count)]),
    ]
    digests = [open_samples(spelling, free).digests() for spelling in spellings]
    assert all(d == digests[0] for d in digests)
    samples = open_samples(source, free)
    order = np.random.default_rng(seed).permutation(count)
    assert samples.take(order).digests() == [digests[0][i] for i in order]
    assert len(set(digests[0])) == count
    changed = {**source, "n": source["n"] + (np.arange(count) == 0)[:, None]}
    assert [a == b for a, b in zip(open_samples(changed, free).digests(), digests[0], strict=True)] == [
        i > 0 for i in range(count)
    ]


def test_the_fingerprint_is_of_all_samples_in_order(free: ir.Model) -> None:
    samples = open_samples(arrays(3), free)
    assert samples.fingerprint() == open_samples(arrays(3), free).fingerprint()
    assert samples.fingerprint() != samples.take([1, 0, 2]).fingerprint()


def test_the_size_of_a_sample_is_what_the_model_is_fed_with(free: ir.Model, make: Make) -> None:
    assert open_samples(arrays(3), free).sample_bytes == 3 * 4 + 4 * 8
    ragged = open_samples([np.zeros(2), np.zeros(7)], make(x=("FLOAT16", ["n", "t"])))
    assert ragged.sample_bytes == 7 * 2


def test_samples_of_different_shapes_share_a_batch_only_with_their_like(make: Make) -> None:
    model = make(x=("FLOAT", ["batch", "time"]))
    rows = [np.full(size, size, np.float32) for size in (3, 3, 5, 3, 5, 5)]
    samples = open_samples(rows, model)
    assert samples.shapes == {"x": None}
    assert [batch["x"].shape for batch in samples.batches(8)] == [(2, 3), (1, 5), (1, 3), (2, 5)]
    assert [list(batch.indices) for batch in samples.batches(8)] == [[0, 1], [2], [3], [4, 5]]
    with pytest.raises(InvalidDataError, match="different shapes cannot fill a batch fixed at 2"):
        open_samples(rows, make(x=("FLOAT", [2, "time"])))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_by_key_and_sample(free: ir.Model, bad: float) -> None:
    source = arrays(9)
    source["x"][6, 1] = bad
    samples = open_samples(source, free)
    with pytest.raises(InvalidDataError, match=rf"'x': sample 6 holds {bad}, expected finite float"):
        list(samples.take([8, 6, 2]).batches(2))
    assert len(list(samples.take([0, 1]).batches(2))) == 1


def test_strings_are_fed_as_strings(make: Make) -> None:
    model = make(s=("STRING", ["n", 2]))
    samples = open_samples([["a", "bc"], ["d", "é"]], model)
    (batch,) = samples.batches(2)
    assert batch["s"].tolist() == [["a", "bc"], ["d", "é"]]
    assert samples.digests() == open_samples(np.array([["a", "bc"], ["d", "é"]], dtype="<U7"), model).digests()


def test_a_batch_of_none_and_an_index_out_of_range_are_refused(free: ir.Model) -> None:
    samples = open_samples(arrays(3), free)
    with pytest.raises(UsageError, match="batch of 0"):
        next(samples.batches(0))
    with pytest.raises(IndexError, match="sample 3 of 3"):
        samples.take([0, 3])
    with pytest.raises(InvalidDataError, match="no samples"):
        samples.take([])


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["n", 1 << 14]))
    peaks = []
    for count in (64, 512):
        np.savez_compressed(tmp_path / "a.npz", x=np.ones((count, 1 << 14), np.float32))
        samples = open_samples(tmp_path / "a.npz", model, seed=1, max_samples=count - 1)
        tracemalloc.start()
        assert sum(len(batch["x"]) for batch in samples.batches(16)) == count - 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
