"""``--mlflow``: an outcome as one run of MLflow, in the store that MLflow's own settings name (``MLFLOW_TRACKING_URI``)."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.model_io import model_file

#: What the name of a metric may hold is less than what tensors are called; a slash makes a folder in some stores.
_FORBIDDEN = re.compile(r"[^\w\-. ]")
#: Characters that a parameter may have.
_MAX_PARAMETER_LENGTH = 500


def load_mlflow() -> Any:
    """The package, for a command that will need it at its end.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        return importlib.import_module("mlflow")
    except ImportError:
        raise UnsupportedError("--mlflow: MLflow is not installed", hint='pip install "onnxslim-toolkit[mlflow]"') from None


def log_run(document: Mapping[str, Any], model: str | None) -> None:
    """Log ``document``, its recipe, its figures and the files of ``model`` (a file, or a folder) as one run.

    A run is a failed one where the command ended in an error.

    Raises:
        UsageError: MLflow refuses; in its words.
    """
    mlflow = load_mlflow()
    try:
        with mlflow.start_run(run_name=f"onnxslim {document['command']}"):
            mlflow.log_params({name: value[:_MAX_PARAMETER_LENGTH] for name, value in _list_parameters(document)})
            mlflow.log_metrics(dict(_list_figures(document)))
            mlflow.log_text(json.dumps(document, indent=2), "receipt.json")
            if document["recipe"]:
                mlflow.log_text(document["recipe"], "recipe.yaml")
            for path in _list_files(model):
                mlflow.log_artifact(path, "model")
            if document["error"] is not None:
                mlflow.end_run("FAILED")
    except mlflow.exceptions.MlflowException as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(f"--mlflow: {line}", hint="MLFLOW_TRACKING_URI names the store") from None


def _list_parameters(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((name, str(document[name])) for name in ("command", "version", "exit_code"))
    for key in ("input", "output"):
        for name, value in (document[key] or {}).items():
            if name in ("path", "sha256"):
                yield f"{key}.{name}", str(value)
    for use, entry in document["data"].items():
        if entry:
            yield f"data.{use}", f"{entry['n']} samples of {entry['source']}"
    if verification := document.get("verification"):
        yield "verdict", str(verification["verdict"])
    yield from ((name, str(value)) for name, value in (document.get("metadata") or {}).items())


def _list_figures(document: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every finite figure, and both ends of its interval; of outputs their SQNR."""
    named: dict[str, Any] = {}
    for metric in document["metrics"]:
        name = metric["name"] if metric.get("output") is None else f"{metric['name']}.{metric['output']}"
        low, high = metric["interval"] or (None, None)
        named |= {name: metric["result"], f"{name}.original": metric["original"], f"{name}.drop": metric["drop"]}
        named |= {f"{name}.drop_low": low, f"{name}.drop_high": high}
    for key in ("input", "output"):
        named |= {f"{key}.{name}": (document[key] or {}).get(name) for name in ("bytes", "params", "macs")}
    named |= {f"sqnr_db.{name}": output.get("sqnr_db") for name, output in document["outputs"].items()}
    if latency := document["latency"]:
        named |= {"speedup": latency["ratio"], "speedup_low": latency["interval"][0], "speedup_high": latency["interval"][1]}
        named |= {f"median_ms.{name}": latency[name]["median_ms"] for name in ("original", "result")}
    for name, value in named.items():
        if isinstance(value, (int, float)) and math.isfinite(value):
            yield _FORBIDDEN.sub("_", name), float(value)


def _list_files(model: str | None) -> Iterator[str]:
    if model is None or not os.path.exists(model):
        return
    if os.path.isdir(model):
        yield from sorted(entry.path for entry in os.scandir(model))
        return
    yield model
    yield from sorted(set(model_file.find_data_files(model).values()))
