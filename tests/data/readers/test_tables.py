"""Tables: columns are inputs or features, cells are what the input takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]


@pytest.fixture
def features(make: Make) -> ir.Model:
    """One input ``x`` of three features, as scikit-learn models have it."""
    return make(x=("FLOAT", [None, 3]))


@pytest.fixture
def mixed(make: Make) -> ir.Model:
    """One input per column, as scikit-learn pipelines have it."""
    return make(age=("INT64", [None, 1]), name=("STRING", [None, 1]), ok=("BOOL", [None, 1]), x=("FLOAT", [None, 2]))


def rows(samples: Any, name: str = "x") -> list[Any]:
    return [row for batch in samples.batches(3) for row in batch[name].tolist()]


def test_the_columns_of_a_csv_are_the_features_in_order(tmp_path: Path, features: ir.Model) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffa,b,labels,c\n1,2.5,cat,3\n\n4,5,ant,6e0\n", encoding="utf-8")
    samples = open_samples(path, features)
    assert rows(samples) == [[1, 2.5, 3], [4, 5, 6]]
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0]
    assert "'ant' is class 0" in samples.warnings[0]
    path.write_text("a,b,y,c,who\n1,2.5,7,3,me\n4,5,8,6,you\n")
    samples = open_samples(path, features, labels="y", group="who")
    assert samples.labels is not None
    assert samples.groups is not None
    assert samples.labels.tolist() == [7, 8]
    assert samples.groups.tolist() == ["me", "you"]


def test_a_csv_of_many_blocks_is_read_whole(tmp_path: Path, features: ir.Model) -> None:
    table = np.random.default_rng(0).standard_normal((3000, 3))
    np.savetxt(tmp_path / "a.csv", table, delimiter=",", header="a,b,c", comments="", fmt="%.17g")
    assert np.array_equal(rows(open_samples(tmp_path / "a.csv", features)), table.astype(np.float32))


def test_columns_called_like_inputs_feed_them(tmp_path: Path, mixed: ir.Model, make: Make) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,ok,age\nann,true,3\nbob,0,4\n")
    model = make(age=("INT64", [None, 1]), name=("STRING", [None, 1]), ok=("BOOL", [None, 1]))
    (batch,) = open_samples(path, model).batches(2)
    assert {key: value.tolist() for key, value in batch.items()} == {
        "age": [[3], [4]],
        "name": [["ann"], ["bob"]],
        "ok": [[True], [False]],
    }
    with pytest.raises(InvalidDataError, match=r"the model expects .*'x' float"):
        open_samples(path, mixed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n1,two,3\n", "column 'b', row 3: 'two', expected floats"),
        ("a,b,c\n1,2,3\n1,,3\n", "column 'b', row 3: '', expected floats"),
        ("a,b,c\n1,2,3\n1,2\n", "row 3 has 2 cells, expected 3"),
        ("a,b,a\n1,2,3\n", "two columns of one name"),
        ("a,b\n1,2\n", r"'x' has samples of shape \(2,\), expected \(3,\)"),
        ("a,b,c\n1,2,nan\n", "'x': sample 0 holds nan"),
        ("a,b,c\n", "has no arrays|no samples"),
        ("", "has no arrays|no samples"),
        ("a,b,c,labels\n1,2,3,\n", "row 2 has no label"),
    ],
)
def test_a_csv_that_does_not_fit_is_named_by_row_and_column(
    tmp_path: Path, features: ir.Model, text: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InvalidDataError, match=message):
        list(open_samples(tmp_path / "a.csv", features).batches(4))


def test_a_csv_that_is_no_text_or_not_there(tmp_path: Path, features: ir.Model) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b,c\n\xff\xfe\x00,1,2\n")
    with pytest.raises(InvalidDataError, match="not a csv table in UTF-8"):
        open_samples(tmp_path / "a.csv", features)
    with pytest.raises(UsageError, match="No such file"):
        open_samples(tmp_path / "b.csv", features)


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
        assert rows(samples, "age") == [[1], [2], [3]]
        assert rows(samples, "name") == [["a"], ["b"], ["a"]]
        assert rows(samples, "ok") == [[True], [False], [True]]
        assert rows(samples) == [[1, 2], [3, 4], [5, 6]]
        assert samples.labels is not None
        assert samples.labels.tolist() == [2, 1, 0]


def test_lists_are_reshaped_to_a_fixed_input_and_may_differ_in_length_for_a_free_one(tmp_path: Path, make: Make) -> None:
    flat = [list(range(6)), list(range(6, 12))]
    nested = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    for cells in (flat, nested):
        for path in arrow_files(tmp_path, {"x": cells}):
            samples = open_samples(path, make(x=("INT32", ["n", 2, 3])))
            assert rows(samples) == nested
    for path in arrow_files(tmp_path, {"x": [[1.0], [1.0, 2.0]]}):
        samples = open_samples(path, make(x=("FLOAT", ["n", "t"])))
        assert [batch["x"].shape for batch in samples.batches(2)] == [(1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1.0, None], "column 'x' has empty cells"),
        ([b"a", b"b"], "column 'x' holds binary, expected numbers"),
        (["a", "b"], "'x' is str.*, expected float"),
    ],
)
def test_arrow_cells_that_do_not_fit_are_named(tmp_path: Path, make: Make, cells: list[Any], message: str) -> None:
    for path in arrow_files(tmp_path, {"x": cells}):
        with pytest.raises(InvalidDataError, match=message):
            open_samples(path, make(x=("FLOAT", ["n", 1])))


def test_a_broken_arrow_file_is_named(tmp_path: Path, features: ir.Model) -> None:
    for path in arrow_files(tmp_path, {"x": [[1.0, 2.0, 3.0]] * 50}):
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(InvalidDataError, match="cannot be read"):
            open_samples(path, features)
