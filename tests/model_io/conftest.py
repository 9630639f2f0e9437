"""A model whose weights are beside it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.support.protos import proto


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A model whose weights another program has put beside it."""
    path = tmp_path / "foreign" / "model.onnx"
    path.parent.mkdir()
    onnx.save(proto(), path, save_as_external_data=True, location="model.onnx.data", size_threshold=16)
    return path
