"""Functions as sources: only when running code was allowed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples

MODULE = """
from pathlib import Path
import numpy as np
Path("imported").touch()
def rows():
    for value in range(3):
        yield np.full(2, value, np.float32)
def broken():
    raise RuntimeError("no network")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a module of readers in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_readers.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "mine_readers", raising=False)
    return tmp_path


@pytest.fixture
def model(make: Callable[..., ir.Model]) -> ir.Model:
    """One float input of two numbers."""
    return make(x=("FLOAT", ["n", 2]))


def test_nothing_is_imported_without_leave(here: Path, model: ir.Model) -> None:
    with pytest.raises(UsageError, match="--data mine_readers:rows would import and run code") as caught:
        open_samples("mine_readers:rows", model)
    assert "--allow-code" in (caught.value.hint or "")
    assert not (here / "imported").exists()


def test_what_the_function_returns_is_the_source(here: Path, model: ir.Model) -> None:
    path = list(sys.path)
    samples = open_samples("mine_readers:rows", model, allow_code=True)
    (batch,) = samples.batches(3)
    assert np.array_equal(batch["x"], [[0, 0], [1, 1], [2, 2]])
    assert sys.path == path


def test_a_function_that_is_missing_or_raises_is_named(here: Path, model: ir.Model) -> None:
    for source in ("mine_readers:none", "mine_missing:rows"):
        with pytest.raises(UsageError, match=f"--data {source}: "):
            open_samples(source, model, allow_code=True)
    with pytest.raises(InvalidDataError, match="mine_readers:broken raised RuntimeError: no network"):
        open_samples("mine_readers:broken", model, allow_code=True)


def test_a_file_that_is_spelled_like_a_function_is_a_file(here: Path, model: ir.Model) -> None:
    Path("a:b").mkdir()
    np.save("a:b/x.npy", np.zeros((3, 2), np.float32))
    assert len(open_samples("a:b", model)) == 3
