"""Arrays in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples
from tests.support.feeds import rows

X = np.arange(24, dtype=np.float32).reshape(4, 6)


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


def test_images_as_bytes_come_with_the_hint_to_normalise(one: ir.Model) -> None:
    with pytest.raises(InvalidDataError) as caught:
        open_samples(X.astype(np.uint8), one)
    assert "--preprocess" in (caught.value.hint or "")


def test_the_caller_s_arrays_are_not_changed_and_not_handed_out(one: ir.Model) -> None:
    mine = X.copy()
    (batch,) = open_samples(mine, one).batches(8)
    batch["x"][:] = 0
    assert np.array_equal(mine, X)
