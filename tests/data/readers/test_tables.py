"""Tables: columns are inputs or features, cells are what the input takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from tests.support.feeds import row_lists

Make = Callable[..., ir.Model]


def test_the_columns_of_a_csv_are_the_features_in_order(tmp_path: Path, features: ir.Model) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffa,b,labels,c\n1,2.5,cat,3\n\n4,5,ant,6e0\n", encoding="utf-8")
    samples = open_samples(path, features)
    assert row_lists(samples) == [[1, 2.5, 3], [4, 5, 6]]
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
    assert np.array_equal(row_lists(open_samples(tmp_path / "a.csv", features)), table.astype(np.float32))


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
