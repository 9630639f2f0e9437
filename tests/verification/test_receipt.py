"""A receipt is read as it was written, and refused where it is of something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError, InvalidModelError, UsageError
from onnxslim.core.quantities import Units
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.verification.receipt import (
    SCHEMA,
    DataRecord,
    ModelRecord,
    Receipt,
    Settings,
    describe_machine,
    read_receipt,
)

RECEIPT = Receipt(
    SCHEMA, "pass", ModelRecord("a.onnx", {"a.onnx": "1" * 64, "a.data": "2" * 64}), ModelRecord(None, {"": "3" * 64}),
    DataRecord("d.npz", 7, "4" * 64), Settings(dim={"batch": 2}, output=("y",), state={"auto": ""}), 7, None,
    machine=describe_machine(),
)  # fmt: skip


def write(path: Path, entry: object, **more: object) -> Path:
    path.write_text(json.dumps({"receipt": entry, **more}))
    return path


@pytest.mark.parametrize("limit", [0.01, Units(2.5)])
def test_it_is_read_as_it_was_written(tmp_path: Path, limit: float) -> None:
    receipt = replace(RECEIPT, settings=replace(RECEIPT.settings, max_drop=limit))
    file = read_receipt(write(tmp_path / "r.json", receipt.as_json(), latency={"ratio": 2.0}))
    assert file.receipt == receipt
    assert isinstance(file.receipt.settings.max_drop, Units) == isinstance(limit, Units)
    assert file.latency == {"ratio": 2.0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"), ("[]", "no receipt"), ("{}", "no receipt"), ('{"receipt": null}', "no receipt"),
        ('{"receipt": {}}', "schema None"), ('{"receipt": {"schema": 99, "tool": "9.9"}}', "schema 99"),
        ('{"receipt": {"schema": 1}}', "r.json"), ("[" * 100_000, "not JSON"), ("\udcff", "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_one_line_with_the_file(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        read_receipt(path)
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_receipt(tmp_path / "none.json")


def test_a_key_of_the_wrong_type_is_named_by_its_path(tmp_path: Path) -> None:
    entry = RECEIPT.as_json()
    entry["settings"]["seed"] = "zero"
    with pytest.raises(UsageError, match=r"settings\.seed"):
        read_receipt(write(tmp_path / "r.json", entry))


def test_a_model_is_its_content_and_that_of_its_data_whatever_its_name(tmp_path: Path, cnn: str) -> None:
    model = model_file.load(cnn)
    paths = [tmp_path / name / "m.onnx" for name in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        model_file.save(model, path, external_data=True)
    first, second = (ModelRecord.of(model_file.load(path), str(path)) for path in paths)
    assert len(first.files) == 2
    assert first.has_same_content(second)
    first.check_same(second, "r.json")
    (data,) = (paths[1].parent / name for name in first.files if name != "m.onnx")
    raw = bytearray(data.read_bytes())
    raw[0] ^= 1
    data.write_bytes(raw)
    changed = ModelRecord.of(model_file.load(paths[1]), str(paths[1]))
    assert not first.has_same_content(changed)
    with pytest.raises(InvalidModelError, match=r"r\.json"):
        first.check_same(changed, "r.json")
    with pytest.raises(InvalidModelError, match="expected"):
        first.check_same(ModelRecord("other.onnx", {"other.onnx": "5" * 64}), "r.json")


def test_data_are_their_values_and_labels_wherever_they_lie(tmp_path: Path, cnn: str) -> None:
    model, arrays = model_file.load(cnn), {"image": np.zeros((4, 1, 8, 8), np.float32), "labels": np.arange(4)}

    def record(name: str, **changed: np.ndarray) -> DataRecord:
        np.savez(tmp_path / name, **{**arrays, **changed})
        return DataRecord.of(open_samples(tmp_path / name, model), tmp_path / name)

    record("a.npz").check_same(record("b.npz"), "r.json")
    for changed in ({"image": np.ones((4, 1, 8, 8), np.float32)}, {"labels": np.zeros(4, np.int64)}):
        with pytest.raises(InvalidDataError, match=r"not the data of r\.json"):
            record("a.npz").check_same(record("c.npz", **changed), "r.json")


@pytest.mark.parametrize("used", [-1, 8])
def test_a_receipt_of_more_samples_than_there_are_is_none(tmp_path: Path, used: int) -> None:
    with pytest.raises(UsageError, match="of 7 samples used"):
        read_receipt(write(tmp_path / "r.json", replace(RECEIPT, samples_used=used).as_json()))


@pytest.mark.parametrize("part", ["candidate", "settings", "machine"])
def test_what_is_no_table_in_it_is_named_by_its_path(tmp_path: Path, part: str) -> None:
    entry = RECEIPT.as_json()
    table = {"candidate": "files", "settings": "dim"}.get(part)
    if table is None:
        entry[part] = 3
    else:
        entry[part][table] = 3
    with pytest.raises(UsageError, match=rf"{part}.*expected values by name, got 3"):
        read_receipt(write(tmp_path / "r.json", entry))
