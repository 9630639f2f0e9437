"""The JSON that scripts rely on is what the published schema says, whatever a command ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from onnxslim_cli.main import main
from tests.support.paths import ROOT

SAMPLES = ROOT / "sample_models"
MODEL, CALIB, EVAL = (str(SAMPLES / name) for name in ("digits_mlp.onnx", "digits_calib.npz", "digits_eval.npz"))
SCHEMA = json.loads((ROOT / "docs" / "reference" / "schema.json").read_text())
OUT = "{out}"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (["simplify", MODEL, "-o", OUT], 0),
        (
            [
                "prune",
                MODEL,
                "-o",
                OUT,
                "--data",
                CALIB,
                "--remove",
                "20%",
                "--of",
                "params",
                "--round-to",
                "1",
                "--criterion",
                "l1",
            ],
            0,
        ),
        (["optimize", MODEL, "-o", OUT, "--data", CALIB, "--eval-data", EVAL, "--recipe", "lossless"], 0),
        (["optimize", MODEL, "-o", OUT, "--data", CALIB, "--eval-data", EVAL, "--budget", "1s"], 0),
        (["evaluate", MODEL, MODEL, "--data", EVAL], 0),
        (["verify", MODEL, "--against", MODEL, "--data", EVAL], 0),
        (["verify", MODEL, "--against", MODEL, "--data", EVAL, "--min-speedup", "50"], 5),
        (["inspect", MODEL], 0),
        (["simplify", MODEL], 2),
        (["optimize", MODEL, "-o", OUT], 2),
        (["validate", CALIB], 3),
        (["quantize", MODEL, "-o", OUT, "--data", CALIB, "--provider", "cuda"], 4),
        (["optimize", MODEL, "-o", OUT, "--data", CALIB, "--recipe", "lossless", "--min-speedup", "50"], 5),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_command_prints_one_document_of_the_schema(
    call: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = main([str(tmp_path / "out.onnx") if word == OUT else word for word in [*call, "--json"]])
    document = json.loads(capsys.readouterr().out)
    Draft202012Validator(SCHEMA).validate(document)
    assert ended == document["exit_code"] == code
    assert (document["error"] is None) == (code == 0)
