"""One trial of a search: a point carried out and judged on the tune share, written down so that it need not be again."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim.core.converter import JSON
from onnxslim.core.errors import LimitError, OnnxslimError
from onnxslim.core.quantities import is_in_units
from onnxslim.core.step_report import StepReport
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.recipe_run import Attempt, is_slower
from onnxslim.pipeline.result import Stage, compute_facts
from onnxslim.pipeline.task import CompressionTask
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.search.candidate import Candidate, CandidateResult
from onnxslim.search.study import Study
from onnxslim.simplification.idle_channels import SimplifyDecision
from onnxslim.validation.gates import find_gate_failures

logger = logging.getLogger(__name__)

#: What a search wants large, of how many times faster and how many times smaller a model became.
SCORE_FUNCTIONS: dict[str, Callable[[float, float], float]] = {
    "balanced": lambda faster, smaller: faster * smaller,
    "smallest": lambda faster, smaller: smaller * faster**0.1,
    "fastest": lambda faster, smaller: faster * smaller**0.1,
}
#: Standard errors from the middle of a 95 % interval to its end.
Z95 = 1.96
#: What of a result a study keeps, besides the model.
_STORED_FIELDS = ("latency", "measured", "extra", "warnings", "recipe")


@dataclass(eq=False)
class Trial:
    """A point of the search, what was measured of it, or why it failed.

    Attributes:
        candidate: What was tried.
        attempt: The recipe and everything that came of it.
        drop: On the tune share; infinite when the trial failed.
        score: What the search wants large.
        seconds: What it took.
        evaluation_seconds: What of that went to judging it on the tune share; 0 of what a study knew.
        metric: Name of the metric that dropped.
        metric_is_share: Whether the drop counts points of top-1, as it does unless the limit is in the metric's own unit.
        missed_gates: Gates on size and time that it does not meet.
        idle_share: What simplification alone took, of what pruning counts.
        note: How many layers went back to float, and why; None where none did.
        cause: Why it failed, or None.
    """

    candidate: Candidate
    attempt: Attempt
    drop: float = math.inf
    score: float = 0.0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    metric: str | None = None
    metric_is_share: bool = False
    missed_gates: tuple[str, ...] = ()
    idle_share: float = 0.0
    note: str | None = None
    cause: OnnxslimError | None = None

    @property
    def outcome(self) -> CandidateResult:
        """What decides where the search goes next."""
        return CandidateResult(self.candidate, self.drop, self.score, self.seconds)

    @property
    def error(self) -> str | None:
        """The message of why it failed, or None."""
        return None if self.cause is None else self.cause.message

    @property
    def passes(self) -> bool:
        """Whether it meets every gate as far as the tune share and the clock can tell."""
        limit = self.attempt.recipe.gates.max_drop
        return self.error is None and not self.missed_gates and (limit is None or self.drop <= limit)

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        result = self.attempt.result
        return {
            "name": self.candidate.name,
            "tune_drop": JSON.unstructure(self.drop),
            "tune_metric": self.metric,
            "unit": "%" if self.metric_is_share else None,
            "speedup": result.latency["ratio"] if result.latency else None,
            "median_ms": result.latency["result"]["median_ms"] if result.latency else None,
            "bytes": result.output.bytes if result.output else None,
            "seconds": round(self.seconds, 1),
            "passes": self.passes,
            "missed": list(self.missed_gates),
            "error": self.error,
            "note": self.note,
        }


def run_trial(
    task: CompressionTask,
    candidate: Candidate,
    recipe: Recipe,
    goal: str,
    study: Study | None = None,
    *,
    use_clock: bool = True,
) -> Trial:
    """Carry out ``candidate``, or read what a study knows of it.

    A failure of the point is an outcome; that the process may not go on is not.

    Args:
        task: What it is about.
        candidate: What to try.
        recipe: Its steps, with the gates and the seed.
        goal: A key of :data:`SCORE_FUNCTIONS`.
        study: Where finished trials are.
        use_clock: Whether a measured time counts; otherwise the multiplications saved stand for the speed, so that every
            machine ranks alike.

    Raises:
        LimitError: Memory or time is up.
    """
    trial = Trial(candidate, Attempt(task, recipe))
    if study is not None and (stored := study.find(recipe.to_yaml())) is not None:
        _restore_trial(trial, *stored)
        logger.info("trial %s: known from the study", candidate.name)
        return trial
    started = time.monotonic()
    try:
        trial.attempt.apply()
        decisions = [step.decision for step in trial.attempt.result.steps]
        notes = (decision.mixed_reason for decision in decisions if isinstance(decision, QuantizeDecision))
        trial.note = next(filter(None, notes), None)
        simplified = (decision for decision in decisions if isinstance(decision, SimplifyDecision))
        trial.idle_share = next((decision.get_idle_share(candidate.of) for decision in simplified), 0.0)
        trial.attempt.measure()
        measured = time.monotonic()
        _measure_drop(trial)
        trial.evaluation_seconds = time.monotonic() - measured
        _compute_score(trial, goal, use_clock)
    except LimitError:
        raise
    except OnnxslimError as error:
        trial.cause, trial.drop = error, math.inf
    trial.seconds = time.monotonic() - started
    logger.info("trial %s: %s", candidate.name, trial.as_json())
    if study is not None:
        model = trial.attempt.result.model if trial.error is None else None
        study.add(candidate.name, recipe.to_yaml(), _serialize_trial(trial), model)
    return trial


def _measure_drop(trial: Trial) -> None:
    """The drop on the tune share, of what is pruned with its standard error on top; without a share nothing is held
    against it.

    Shares to prune are chosen among many by the drop seen, and of many the luckiest looks best.
    """
    task = trial.attempt.task
    trial.drop = 0.0
    if task.splits.tune is None:
        return
    metric = task.estimate_metric(trial.attempt.models[-1], task.splits.tune)
    limit = trial.attempt.recipe.gates.max_drop or 0.0
    drop, interval = metric.get_drop_by(limit), metric.get_interval_by(limit)
    trial.drop = math.inf if drop is None else max(0.0, drop)
    trial.metric, trial.metric_is_share = metric.name, not is_in_units(limit)
    if trial.candidate.pruning_ratio and interval is not None:
        trial.drop += max(0.0, interval[1] - trial.drop) / Z95


def _compute_score(trial: Trial, goal: str, use_clock: bool) -> None:
    task, result = trial.attempt.task, trial.attempt.result
    assert result.latency is not None
    assert result.output is not None
    faster = result.latency["ratio"] if use_clock else max(task.original_facts.macs, 1) / max(result.output.macs, 1)
    trial.score = SCORE_FUNCTIONS[goal](faster, task.original_facts.bytes / result.output.bytes)
    physical_gates = dataclasses.replace(trial.attempt.recipe.gates, max_drop=None, min_agreement=None, min_sqnr=None)
    missed_gates = find_gate_failures(physical_gates, None, result.latency, trial.attempt.sizes)
    if use_clock and goal != "smallest" and is_slower(result.latency):
        missed_gates.append("slower than the original")
    trial.missed_gates = tuple(missed_gates)


def _serialize_trial(trial: Trial) -> dict[str, Any]:
    result = trial.attempt.result
    return {
        "drop": JSON.unstructure(trial.drop),
        "score": trial.score,
        "seconds": trial.seconds,
        "metric": trial.metric,
        "share": trial.metric_is_share,
        "missed": list(trial.missed_gates),
        "note": trial.note,
        "idle_share": trial.idle_share,
        "error": None if trial.cause is None else trial.cause.as_json(),
        "steps": [report.as_json() for report in result.steps],
        "stages": JSON.unstructure(result.stages),
        **{name: getattr(result, name) for name in _STORED_FIELDS},
    }


def _restore_trial(trial: Trial, stored: Mapping[str, Any], path: str | None) -> None:
    result = trial.attempt.result
    trial.drop = math.inf if stored["drop"] is None else stored["drop"]
    trial.score, trial.seconds, trial.note = stored["score"], stored["seconds"], stored["note"]
    trial.idle_share = stored["idle_share"]
    trial.missed_gates, trial.metric, trial.metric_is_share = tuple(stored["missed"]), stored["metric"], stored["share"]
    trial.cause = None if stored["error"] is None else OnnxslimError.from_json(stored["error"])
    result.steps = JSON.structure(stored["steps"], list[StepReport])
    result.stages = JSON.structure(stored["stages"], list[Stage])
    for name in _STORED_FIELDS:
        setattr(result, name, stored[name])
    if path is not None:
        result.model = model_file.load(path)
        trial.attempt.models = [result.model]
        result.output = compute_facts(result.model, dims=trial.attempt.task.read.dims)
