"""The convolutional sample model, simplified, and data for it."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.simplification.step import simplify
from tests.support.paths import SAMPLES


@pytest.fixture(scope="module")
def digits() -> ir.Model:
    """The small convolutional network, simplified as before quantising."""
    return simplify(SAMPLES / "digits_cnn.onnx")[0]


@pytest.fixture(scope="module")
def calib(digits: ir.Model) -> Samples:
    return open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=64)
