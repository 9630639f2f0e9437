"""The JSON that scripts rely on is what the published schema says, whatever a command ends with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from onnxslim.core import errors
from onnxslim.core.errors import OnnxslimError
from onnxslim.core.step_report import StepReport
from onnxslim.pipeline.result import ModelFacts, Stage
from onnxslim_cli.error_mapping import DefectError, EndedEarlyError
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
        (["prune", MODEL, "-o", OUT, "--remove", "20%", "--criterion", "l1"], 0),
        (["optimize", MODEL, "-o", OUT, "--data", CALIB, "--eval-data", EVAL, "--recipe", "lossless"], 0),
        (["optimize", MODEL, "-o", OUT, "--data", CALIB, "--eval-data", EVAL, "--budget", "1s"], 0),
        (["evaluate", MODEL, MODEL, "--data", EVAL], 0),
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


def test_every_error_of_ours_is_in_the_schema() -> None:
    kinds = SCHEMA["properties"]["error"]["anyOf"][0]["properties"]["kind"]["enum"]
    codes = SCHEMA["properties"]["exit_code"]["enum"]
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OnnxslimError)]
    for kind in [*ours, DefectError, EndedEarlyError]:
        assert kind.kind in kinds
        assert kind.exit_code in codes


@pytest.mark.parametrize(
    ("part", "kind"), [("input", ModelFacts), ("output", ModelFacts), ("stages", Stage), ("steps", StepReport)]
)
def test_the_schema_names_the_fields_of_the_types_that_are_written(part: str, kind: type) -> None:
    described = SCHEMA["properties"][part]
    described = described.get("anyOf", [described])[0]
    described = described.get("items", described)
    fields = [f.metadata.get("key", f.name) for f in dataclasses.fields(kind) if f.init]
    assert list(described["properties"]) == fields
