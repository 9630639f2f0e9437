"""``--mlflow``: one run with the recipe, the figures, the receipt and the model, in a local store."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxslim.core.errors import UsageError
from onnxslim_cli import command

Run = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an empty file store that the command line will use."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    uri = (tmp_path / "runs").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


def find_run(store: Any) -> tuple[Any, Callable[[str], Path]]:
    """The only run, and where an artifact of it lies."""
    (run,) = store.search_runs(["0"])
    return run, lambda name: Path(store.download_artifacts(run.info.run_id, name))


def test_a_model_is_logged_with_what_made_it_and_what_that_proves(
    run: Run, store: Any, cnn: str, calib: str, evals: str, tmp_path: Path
) -> None:
    out = tmp_path / "q.onnx"
    fit = ["--data", calib, "--eval-data", evals, "--max-samples", 60]
    outcome = run("quantize", cnn, "-o", out, *fit, "--placement", "static", "--mlflow")
    assert outcome.code == 0, outcome.err
    logged, find = find_run(store)
    assert logged.info.status == "FINISHED"
    assert find("model/q.onnx").read_bytes() == out.read_bytes()
    document = json.loads(find("receipt.json").read_text())
    assert find("recipe.yaml").read_text() == document["recipe"]
    assert logged.data.metrics["output.bytes"] == out.stat().st_size
    assert {"speedup", "speedup_low", "speedup_high"} <= set(logged.data.metrics)
    assert logged.data.params["output.sha256"] == document["output"]["sha256"]


def test_a_verdict_that_is_no_pass_is_a_failed_run(run: Run, store: Any, cnn: str, evals: str) -> None:
    call = ["verify", cnn, "--against", cnn, "--data", evals, "--min-speedup", "100", "--mlflow"]
    assert run(*call).code == 5
    logged, find = find_run(store)
    assert logged.info.status == "FAILED"
    assert logged.data.params["verdict"] == "fail"
    assert json.loads(find("receipt.json").read_text())["receipt"]["verdict"] == "fail"


@pytest.mark.parametrize(("more", "code"), [(["--min-speedup", "100"], 5), ([], 2)])
def test_a_store_that_refuses_does_not_hide_that_a_gate_failed(
    run: Run, cnn: str, evals: str, monkeypatch: pytest.MonkeyPatch, more: list[str], code: int
) -> None:
    def refuse(*_: Any) -> None:
        raise UsageError("--mlflow: no store")

    monkeypatch.setattr(command, "load_mlflow", lambda: None)
    monkeypatch.setattr(command, "log_run", refuse)
    outcome = run("verify", cnn, "--against", cnn, "--data", evals, *more, "--mlflow")
    assert (outcome.code, "--mlflow: no store" in outcome.err) == (code, True)


def test_without_mlflow_nothing_is_begun(run: Run, cnn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    outcome = run("simplify", cnn, "-o", tmp_path / "s.onnx", "--mlflow")
    assert outcome.code == 4
    assert "onnxslim-toolkit[mlflow]" in outcome.err
    assert not (tmp_path / "s.onnx").exists()
