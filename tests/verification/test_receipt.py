"""A receipt knows its models and data again, and refuses others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError, InvalidModelError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.verification.receipt import DataRecord, ModelRecord


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
