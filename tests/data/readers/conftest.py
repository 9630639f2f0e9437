"""What the tests of several readers read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from tests.support.pictures import picture


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes of two pictures; the first channel tells class and picture."""
    for number, name in enumerate(("cat", "dog", "eel")):
        for i in range(2):
            picture(tmp_path / "images" / name / f"{i}.png", 10 * number + i)
    return tmp_path / "images"


Make = Callable[..., ir.Model]


@pytest.fixture
def features(make: Make) -> ir.Model:
    """One input ``x`` of three features, as scikit-learn models have it."""
    return make(x=("FLOAT", [None, 3]))


@pytest.fixture
def mixed(make: Make) -> ir.Model:
    """One input per column, as scikit-learn pipelines have it."""
    return make(age=("INT64", [None, 1]), name=("STRING", [None, 1]), ok=("BOOL", [None, 1]), x=("FLOAT", [None, 2]))
