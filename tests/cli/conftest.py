"""The command line as a test calls it: in this process, with what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onnxslim_cli.main import main
from tests.support.receipts import write_receipt


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
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line; arguments may be anything with a text."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def verified_folder(cnn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a receipt."""
    model = tmp_path_factory.mktemp("models") / "model.onnx"
    model.write_bytes(Path(cnn).read_bytes())
    write_receipt(model, model)
    return model.parent


@pytest.fixture
def calls(cnn: str, wide: str, calib: str, evals: str, verified_folder: Path, tmp_path: Path) -> dict[str, list[object]]:
    """A sensible call of each command that is quick."""
    fit = ["--data", calib, "--eval-data", evals, "--max-samples", 40]
    return {
        "optimize": [cnn, "-o", tmp_path / "o.onnx", *fit, "--recipe", "int8", "--placement", "static"],
        "simplify": [wide, "-o", tmp_path / "s.onnx", "--data", evals],
        "prune": [
            cnn,
            "-o",
            tmp_path / "p.onnx",
            *fit,
            "--remove",
            "10%",
            "--of",
            "params",
            "--round-to",
            1,
            "--criterion",
            "l2",
        ],
        "quantize": [cnn, "-o", tmp_path / "q.onnx", *fit, "--placement", "static"],
        "evaluate": [cnn, wide, "--data", evals],
        "verify": [cnn, "--against", cnn, "--data", evals],
        "compare": [cnn, cnn, "--data", "random"],
        "benchmark": [cnn, "--data", evals, "--concurrency", 2],
        "profile": [cnn, wide],
        "inspect": [cnn, wide, "--channels"],
        "sensitivity": [cnn, "--data", calib, "--max-samples", 32],
        "doctor": [],
        "validate": [cnn],
        "choose": [verified_folder],
    }
