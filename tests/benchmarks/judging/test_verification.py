"""A result is judged by what it gives out, and the original beside itself is the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from judging.verification import count_bytes, verify
from onnx import numpy_helper

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,8] x) => (float[n,4] y, float[n,4] z) { y = MatMul(x, w)  z = Relu(y) }"""
JUDGE = """
import numpy as np
def judge(spec, originals, results, labels=None):
    gaps = [np.abs(a[spec] - b[spec]).max() for a, b in zip(originals, results, strict=True)]
    return {"gap": float(max(gaps)), "n": len(originals), "labels": None if labels is None else len(labels)}
"""


def make(path: Path, scale: float) -> Path:
    """A product with random weights times ``scale``."""
    proto = onnx.parser.parse_model(TEXT)
    weights = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(scale * weights, "w"))
    onnx.save(proto, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six samples with labels, and a judge beside them."""
    (tmp_path / "natural.py").write_text(JUDGE, encoding="utf-8")
    np.savez(tmp_path / "d.npz", x=np.ones((6, 8), np.float32), labels=np.zeros(6))
    return tmp_path / "d.npz"


def test_the_original_beside_itself_is_equal_in_everything(tmp_path: Path, data: Path) -> None:
    model = make(tmp_path / "m.onnx", 1.0)
    found = verify(model, make(tmp_path / "r.onnx", 1.0), data, spec="y", judges=tmp_path / "natural.py")
    assert found["identical"]
    assert (found["speed_ratio"], found["size_ratio"], found["interface_same"]) == (1.0, 1.0, True)
    assert found["natural"] == {"gap": 0.0, "n": 6, "labels": 6}


def test_another_model_is_timed_and_its_difference_seen(tmp_path: Path, data: Path) -> None:
    model = make(tmp_path / "m.onnx", 1.0)
    found = verify(model, make(tmp_path / "r.onnx", 1.5), data, spec="y", judges=tmp_path / "natural.py")
    assert not found["identical"]
    assert found["natural"]["gap"] > 0
    assert found["speed_ratio"] > 0


def test_bytes_are_those_of_the_weights_in_other_files_too(tmp_path: Path) -> None:
    model = onnx.load(make(tmp_path / "m.onnx", 1.0))
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="e.data", size_threshold=0)
    expected = sum((tmp_path / name).stat().st_size for name in ("e.onnx", "e.data"))
    assert count_bytes(tmp_path / "e.onnx") == expected > 128
