"""The command line as a test calls it: in this process, with what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onnxslim_cli.main import main
from tests.support.paths import SAMPLES


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


@pytest.fixture
def samples() -> Path:
    """The folder of sample models and their data."""
    return SAMPLES


@pytest.fixture
def cnn() -> str:
    """A small convolutional network, already simple."""
    return str(SAMPLES / "digits_cnn.onnx")


@pytest.fixture
def wide() -> str:
    """A network with BatchNormalization and shape arithmetic left in, so there is something to simplify."""
    return str(SAMPLES / "digits_wide.onnx")


@pytest.fixture
def calib() -> str:
    """Data to fit on."""
    return str(SAMPLES / "digits_calib.npz")


@pytest.fixture
def evals() -> str:
    """Data to judge by."""
    return str(SAMPLES / "digits_eval.npz")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line; arguments may be anything with a text."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
