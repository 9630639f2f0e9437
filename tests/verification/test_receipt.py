"""A receipt knows its models again, and refuses others."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_io import model_file
from onnxslim.verification.receipt import ModelRecord


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
