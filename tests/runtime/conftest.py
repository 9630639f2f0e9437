"""The sample model that the tests of the runtime run."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from tests.support.digits import MODEL


@pytest.fixture(scope="module")
def digits() -> ir.Model:
    return model_file.load(MODEL)
