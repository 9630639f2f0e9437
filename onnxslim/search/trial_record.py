"""A trial as a study keeps it: everything that the search and the report go on from, besides the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onnxslim.core.converter import JSON
from onnxslim.core.errors import OnnxslimError
from onnxslim.core.step_report import StepReport
from onnxslim.model_io import model_file
from onnxslim.pipeline.attempt import Attempt
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.result import ModelFacts, Stage, compute_facts
from onnxslim.pipeline.task import CompressionTask
from onnxslim.quantization.decision import FrontPoint
from onnxslim.search.candidate import Candidate
from onnxslim.search.study import Study
from onnxslim.search.trial import Trial

#: Fields of a trial that are kept as they are, and those that may be no number.
_PLAIN_FIELDS = (
    "score", "seconds", "metric", "metric_is_share", "note", "idle_share", "activations", "front_index", "survey_seconds",
    "prunable_share", "is_unproven", "timing_seconds", "evaluation_seconds",
)  # fmt: skip
_FLOAT_FIELDS = {
    "drop": math.inf, "seen_drop": math.inf, "least_drop": math.inf, "speedup": math.nan, "shrinkage": math.nan,
}  # fmt: skip
#: Fields of a result that are kept as they are.
_RESULT_FIELDS = ("latency", "measured", "extra", "warnings", "recipe")


def find_trial(study: Study, task: CompressionTask, candidate: Candidate, recipe: Recipe) -> Trial | None:
    """What ``study`` knows of the trial of ``recipe``; None where it knows nothing."""
    stored = study.find(recipe.to_yaml())
    if stored is None:
        return None
    trial = Trial(candidate, Attempt(task, recipe))
    _restore_trial(trial, *stored)
    return trial


def add_trial(study: Study, trial: Trial) -> None:
    """Write ``trial`` down in ``study``, its model too where it has one that may be wanted."""
    is_wanted = trial.may_pass if study.is_temporary else trial.error is None
    model = trial.attempt.result.model if is_wanted else None
    study.add(trial.candidate.name, trial.attempt.recipe.to_yaml(), _serialize_trial(trial), model)


def _serialize_trial(trial: Trial) -> dict[str, Any]:
    result = trial.attempt.result
    return {
        **{name: getattr(trial, name) for name in _PLAIN_FIELDS},
        **{name: JSON.unstructure(getattr(trial, name)) for name in _FLOAT_FIELDS},
        "missed": list(trial.missed_gates),
        "loss": list(trial.loss),
        "front": JSON.unstructure(trial.front),
        "error": None if trial.cause is None else trial.cause.as_json(),
        "steps": [report.as_json() for report in result.steps],
        "stages": JSON.unstructure(result.stages),
        "output": None if trial.cause is not None else JSON.unstructure(result.output),
        **{name: getattr(result, name) for name in _RESULT_FIELDS},
    }


def _restore_trial(trial: Trial, stored: Mapping[str, Any], path: str | None) -> None:
    result = trial.attempt.result
    for name in _PLAIN_FIELDS:
        setattr(trial, name, stored.get(name, getattr(trial, name)))  # a study may be older than the field
    for name, missing in _FLOAT_FIELDS.items():
        setattr(trial, name, missing if stored[name] is None else stored[name])
    trial.loss = (stored["loss"][0], stored["loss"][1])
    trial.missed_gates, trial.front = tuple(stored["missed"]), JSON.structure(stored["front"], tuple[FrontPoint, ...])
    trial.cause = None if stored["error"] is None else OnnxslimError.from_json(stored["error"])
    result.steps = JSON.structure(stored["steps"], list[StepReport])
    result.stages = JSON.structure(stored["stages"], list[Stage])
    for name in _RESULT_FIELDS:
        setattr(result, name, stored[name])
    if stored.get("output") is not None:
        result.output = JSON.structure(stored["output"], ModelFacts)
    if path is not None:
        result.model = model_file.load(path)
        trial.attempt.models = [result.model]
        result.output = result.output or compute_facts(result.model, dims=trial.attempt.task.read.dims)
