"""Parquet, arrow and feather."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UnsupportedError
from onnxslim.data.sources import open_samples
from tests.support.feeds import row_lists

Make = Callable[..., ir.Model]


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, features: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnsupportedError, match=r"reading \.parquet files needs pyarrow") as caught:
        open_samples(tmp_path / "a.parquet", features)
    assert caught.value.hint == "pip install 'onnxslim-toolkit[tables]'"


def arrow_files(folder: Path, columns: dict[str, Any]) -> list[Path]:
    """The same table as parquet, as an arrow file, as an arrow stream and as feather."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet, feather = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.feather")
    table = pyarrow.table(columns)
    parquet.write_table(table, folder / "a.parquet", row_group_size=2)
    feather.write_feather(table, folder / "a.feather")
    for name, writer in (("file", pyarrow.ipc.new_file), ("stream", pyarrow.ipc.new_stream)):
        with writer(folder / f"{name}.arrow", table.schema) as out:
            out.write_table(table, max_chunksize=2)
    return [folder / name for name in ("a.parquet", "a.feather", "file.arrow", "stream.arrow")]


def test_arrow_columns_are_inputs_of_every_kind(tmp_path: Path, mixed: ir.Model) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    columns = {
        "age": [1, 2, 3],
        "name": pyarrow.array(["a", "b", "a"]).dictionary_encode(),
        "ok": [True, False, True],
        "x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        "labels": [2, 1, 0],
    }
    for path in arrow_files(tmp_path, columns):
        samples = open_samples(path, mixed)
        assert row_lists(samples, "age") == [[1], [2], [3]]
        assert row_lists(samples, "name") == [["a"], ["b"], ["a"]]
        assert row_lists(samples, "ok") == [[True], [False], [True]]
        assert row_lists(samples) == [[1, 2], [3, 4], [5, 6]]
        assert samples.labels is not None
        assert samples.labels.tolist() == [2, 1, 0]


def test_lists_are_reshaped_to_a_fixed_input_and_may_differ_in_length_for_a_free_one(tmp_path: Path, make: Make) -> None:
    flat = [list(range(6)), list(range(6, 12))]
    nested = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    for cells in (flat, nested):
        for path in arrow_files(tmp_path, {"x": cells}):
            samples = open_samples(path, make(x=("INT32", ["n", 2, 3])))
            assert row_lists(samples) == nested
    for path in arrow_files(tmp_path, {"x": [[1.0], [1.0, 2.0]]}):
        samples = open_samples(path, make(x=("FLOAT", ["n", "t"])))
        assert [batch["x"].shape for batch in samples.batches(2)] == [(1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", None], "column 'x' has empty cells"),
        ([b"a", b"b"], "column 'x' holds binary, expected numbers"),
        (["a", "b"], "'x' is str.*, expected float"),
    ],
)
def test_arrow_cells_that_do_not_fit_are_named(tmp_path: Path, make: Make, cells: list[Any], message: str) -> None:
    for path in arrow_files(tmp_path, {"x": cells}):
        with pytest.raises(InvalidDataError, match=message):
            open_samples(path, make(x=("FLOAT", ["n", 1])))


@pytest.mark.parametrize("cells", [[1.0, None], [1, None], [1, 2, 3, None]], ids=["floats", "integers", "a later batch"])
def test_empty_cells_of_numbers_are_missing_values(tmp_path: Path, make: Make, cells: list[float | None]) -> None:
    asking = make(x=("FLOAT", ["n", 1]))
    asking.graph.append(ir.node("IsNaN", [asking.graph.inputs[0]]))
    for path in arrow_files(tmp_path, {"x": cells}):
        (batch,) = open_samples(path, asking).batches(len(cells))
        assert np.isnan(batch["x"][:, 0]).tolist() == [cell is None for cell in cells]
        with pytest.raises(InvalidDataError, match=f"sample {len(cells) - 1} holds nan"):
            list(open_samples(path, make(x=("FLOAT", ["n", 1]))).batches(2))
        with pytest.raises(InvalidDataError, match="'x'"):
            list(open_samples(path, make(x=("INT64", ["n", 1]))).batches(2))


def test_a_broken_arrow_file_is_named(tmp_path: Path, features: ir.Model) -> None:
    for path in arrow_files(tmp_path, {"x": [[1.0, 2.0, 3.0]] * 50}):
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(InvalidDataError, match="cannot be read"):
            open_samples(path, features)
