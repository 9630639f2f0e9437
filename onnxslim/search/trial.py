"""One trial of a search: a point carried out and judged on the tune share, written down so that it need not be again."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim.core.attempts import attempt
from onnxslim.core.converter import JSON
from onnxslim.core.errors import DefectError, GateError, LimitError, OnnxslimError, UnsupportedError
from onnxslim.pipeline.attempt import Attempt
from onnxslim.pipeline.drop_bounds import bound_drop, find_least_drop, is_left_to_confirm
from onnxslim.pipeline.recipe import Recipe, Step
from onnxslim.pipeline.task import CompressionTask
from onnxslim.pruning.options import PruneDecision
from onnxslim.quantization.decision import FrontPoint, QuantizeDecision
from onnxslim.quantization.options import ACTIVATION_MODES
from onnxslim.reporting.drops import can_be_asked_for, describe_doubt, describe_drop, describe_limit
from onnxslim.search.candidate import Candidate, CandidateResult, is_gain
from onnxslim.simplification.idle_channels import SimplifyDecision
from onnxslim.validation.gates import find_gate_failures
from onnxslim.validation.latency import is_slower
from onnxslim.validation.metrics.accumulator import MetricResult

logger = logging.getLogger(__name__)

#: What a search wants large, of how many times faster and how many times smaller a model became.
SCORE_FUNCTIONS: dict[str, Callable[[float, float], float]] = {
    "balanced": lambda faster, smaller: faster * smaller,
    "smallest": lambda faster, smaller: smaller * faster**0.1,
    "fastest": lambda faster, smaller: faster * smaller**0.1,
}
#: Gates that every result of a search is held to, whoever asked.
SLOWER, LARGER = "slower than the original", "larger than the original"
#: Standard errors from the middle of a 95 % interval to its end.
Z95 = 1.96


@dataclass(eq=False)
class Trial:
    """A point of the search, what was measured of it, or why it failed.

    Attributes:
        candidate: What was tried.
        attempt: The recipe and everything that came of it.
        drop: On the tune share, with what is allowed for its uncertainty
            (:func:`~onnxslim.pipeline.drop_bounds.bound_drop`); infinite when the trial failed.
        seen_drop: The same without.
        score: What the search wants large.
        speedup: Times faster than the original, a standard error nearer to 1 than was seen; NaN where no clock counts.
        shrinkage: Times smaller.
        seconds: What it took.
        timing_seconds: What of that went to timing it.
        evaluation_seconds: What of that went to judging it on the tune share.
        survey_seconds: What of that went to finding out what may be pruned, where later trials know it.
        metric: Name of the metric that dropped.
        metric_is_share: Whether the drop counts points of top-1, as it does unless the limit is in the metric's own unit.
        loss: What the metric lost, in words, and then what is allowed or why it is in doubt; empty where nothing was judged.
        missed_gates: Gates on size and time that it does not meet.
        idle_share: What simplification alone took, of what pruning counts.
        note: How many layers went back to float, and why; None where none did.
        activations: ``static`` or ``dynamic`` where activations are int8.
        front: The placements that the quantize step chose among, from the fastest to the mildest.
        front_index: Which of them it chose.
        cause: Why it failed, or None.
        refusal: One line of why the confirm data refused it; None where they were not asked or did not.
        confirm_drop: What it dropped on the confirm data, by the unit of the limit; None where they were not asked.
        least_drop: The least that ``seen_drop`` leaves possible, by its 95 % interval.
        prunable_share: The most that can be pruned of what exact steps leave, where that is why it failed.
        is_unproven: Whether the confirm data have to prove it with all of its uncertainty, because the tune share is too
            small to (:func:`~onnxslim.pipeline.drop_bounds.is_left_to_confirm`).
    """

    candidate: Candidate
    attempt: Attempt
    drop: float = math.inf
    seen_drop: float = math.inf
    score: float = 0.0
    speedup: float = math.nan
    shrinkage: float = math.nan
    seconds: float = 0.0
    timing_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    survey_seconds: float = 0.0
    metric: str | None = None
    metric_is_share: bool = False
    loss: tuple[str, str] = ("", "")
    missed_gates: tuple[str, ...] = ()
    idle_share: float = 0.0
    note: str | None = None
    activations: str | None = None
    front: tuple[FrontPoint, ...] = ()
    front_index: int | None = None
    cause: OnnxslimError | None = None
    refusal: str | None = None
    confirm_drop: float | None = None
    least_drop: float = math.inf
    prunable_share: float | None = None
    is_unproven: bool = False

    @property
    def key(self) -> str:
        """What tells it from every other trial of a command."""
        return make_key(self.attempt.task, self.attempt.recipe)

    @property
    def outcome(self) -> CandidateResult:
        """What decides where the search goes next."""
        gave_way = self.note is not None or bool(self.front_index)
        return CandidateResult(
            self.candidate, self.drop, self.score, self.seconds, self.speedup, self.shrinkage, self.activations, gave_way,
            self.timing_seconds + self.evaluation_seconds, self.survey_seconds, not isinstance(self.cause, UnsupportedError),
            self.prunable_share, self._count_reached_share(),
        )  # fmt: skip

    def _count_reached_share(self) -> float | None:
        """What the pruning took of what exact steps leave, by what it counts."""
        counts = {stage.name: getattr(stage, self.candidate.of) for stage in self.attempt.result.stages}
        before, after = counts.get("simplify"), counts.get("prune")
        return 1 - after / before if before and after is not None else None

    @property
    def error(self) -> str | None:
        """The message of why it failed, or None."""
        return None if self.cause is None else self.cause.message

    @property
    def known_drop(self) -> float:
        """The drop on the confirm data where they were asked, which say more than the tune share; else that."""
        return self.seen_drop if self.confirm_drop is None else self.confirm_drop

    @property
    def gains(self) -> bool:
        """Whether it is faster or smaller than the original by what is worth having."""
        return is_gain(self.speedup, self.shrinkage)

    @property
    def may_pass(self) -> bool:
        """Whether it gains something, meets the gates on size and time, and drops no more than is allowed as far as was
        seen; or, where nothing was pruned, as far as the tune share can tell: one box of 23 is four points.
        """
        drop = self.seen_drop if self.candidate.pruning_ratio else self.least_drop
        return self.error is None and not self.missed_gates and self.gains and self._is_allowed(drop)

    @property
    def passes(self) -> bool:
        """Whether it meets every gate as far as the tune share and the clock can tell, uncertainty allowed for."""
        return self.error is None and not self.missed_gates and self._is_allowed(self.drop)

    def describe_loss(self, metric: MetricResult) -> None:
        """Remember in words what ``metric`` lost, on the tune share or, once they were asked, on the confirm data."""
        limit = self.attempt.recipe.gates.max_drop or 0.0
        judged_on = "tune" if self.confirm_drop is None else "confirm"
        is_in_doubt = self._is_allowed(self.known_drop)
        limits = describe_doubt(metric, limit, judged_on) if is_in_doubt else describe_limit(metric, limit)
        self.loss = describe_drop(metric), limits

    def _is_allowed(self, drop: float) -> bool:
        limit = self.attempt.recipe.gates.max_drop
        return limit is None or drop <= limit

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        result = self.attempt.result
        return {
            "name": self.candidate.name,
            "tune_drop": JSON.unstructure(self.seen_drop),
            "counted_drop": JSON.unstructure(self.drop),
            "tune_metric": self.metric,
            "confirm": self._describe_confirmation(),
            "unit": "%" if self.metric_is_share else None,
            "speedup": result.latency["ratio"] if result.latency else None,
            "median_ms": result.latency["result"]["median_ms"] if result.latency else None,
            "bytes": result.output.bytes if result.output else None,
            "seconds": round(self.seconds, 1),
            "passes": self.passes,
            "gains": self.error is None and self.gains,
            "missed": list(self.missed_gates),
            "error": self.error,
            "note": self.note,
            "recipe": result.recipe,
        }

    def _describe_confirmation(self) -> dict[str, Any] | None:
        """What it lost most of on the confirm data, counted as the limit is; None where they were not asked."""
        evaluation, limit = self.attempt.result.evaluation, self.attempt.recipe.gates.max_drop
        if evaluation is None:
            return None
        metric = evaluation.metric
        drop, interval = metric.get_drop_by(limit or 0.0), metric.get_interval_by(limit or 0.0)
        figures = {"drop": drop, "interval": interval, "limit": None if limit is None else float(limit), "n": metric.n}
        about = {"metric": metric.name, "output": metric.output, "refused": self.refusal is not None}
        return about | dict(JSON.unstructure(figures))


def make_key(task: CompressionTask, recipe: Recipe) -> str:
    """What tells the trial of ``recipe`` from every other of a command, in every process of it."""
    return f"{task.original_facts.sha256} {recipe.to_yaml()}"


def run_trial(
    task: CompressionTask,
    candidate: Candidate,
    recipe: Recipe,
    goal: str,
    *,
    use_clock: bool = True,
    timing_seconds: float = 10.0,
) -> Trial:
    """Carry out ``candidate``.

    A failure of the point is an outcome, a defect that it meets too, and that a process before this one died of it
    (:mod:`onnxslim.core.attempts`); that the process may not go on is not.

    Args:
        task: What it is about; its steps end at the task's deadline.
        candidate: What to try.
        recipe: Its steps, with the gates and the seed.
        goal: A key of :data:`SCORE_FUNCTIONS`.
        use_clock: Whether a measured time counts; otherwise the multiplications saved stand for the speed, so that every
            machine ranks alike.
        timing_seconds: How long it may be timed.

    Raises:
        LimitError: Memory or time is up.
    """
    trial = Trial(candidate, Attempt(task, recipe))
    started = time.monotonic()
    try:
        with attempt(trial.key, candidate.name):
            trial.attempt.apply()
            applied = time.monotonic()
            _read_decisions(trial, applied - started)
            trial.attempt.measure_ends(timing_seconds)
            measured = time.monotonic()
            _measure_drop(trial)
            trial.timing_seconds, trial.evaluation_seconds = measured - applied, time.monotonic() - measured
            _compute_score(trial, goal, use_clock)
    except (LimitError, MemoryError, OSError):
        raise
    except Exception as error:
        logger.debug("trial %s failed", candidate.name, exc_info=True)
        cause = error if isinstance(error, OnnxslimError) else DefectError.of(error)
        trial.cause, trial.drop, trial.seen_drop = cause, math.inf, math.inf
        if isinstance(cause, GateError) and cause.prunable_share is not None:
            (asked,) = (step.options.remove for step in recipe.steps if isinstance(step, Step) and step.name == "prune")
            trial.prunable_share = candidate.convert_share(cause.prunable_share, asked)
    trial.seconds = time.monotonic() - started
    logger.info("trial %s: %s", candidate.name, trial.as_json())
    return trial


def discount_ratio(latency: Mapping[str, Any]) -> float:
    """How many times faster the result is, a standard error nearer to 1 than was seen: what a noisy clock promises counts
    for less.

    Args:
        latency: From :func:`~onnxslim.validation.latency.summarize`.
    """
    ratio, (low, high) = latency["ratio"], latency["interval"]
    if ratio >= 1:
        return float(max(1.0, ratio - max(0.0, ratio - low) / Z95))
    return float(min(1.0, ratio + max(0.0, high - ratio) / Z95))


def _read_decisions(trial: Trial, seconds: float) -> None:
    """What the steps settled, as far as the search goes on from it; they took ``seconds``, but for those that were known."""
    decisions = [step.decision for step in trial.attempt.result.steps]
    for step in trial.attempt.result.steps:
        decision = step.decision
        if isinstance(decision, QuantizeDecision):
            trial.note, trial.front, trial.front_index = decision.mixed_reason, decision.front, decision.front_index
            trial.activations = decision.scheme if decision.scheme in ACTIVATION_MODES else None
        elif isinstance(decision, PruneDecision) and step.seconds <= seconds:
            trial.survey_seconds += decision.survey_seconds
    simplified = (decision for decision in decisions if isinstance(decision, SimplifyDecision))
    trial.idle_share = next((decision.get_idle_share(trial.candidate.of) for decision in simplified), 0.0)


def _measure_drop(trial: Trial) -> None:
    """The drop on the tune share; without a share nothing is held against it."""
    task = trial.attempt.task
    trial.drop = trial.seen_drop = trial.least_drop = 0.0
    if task.splits.tune is None:
        return
    metrics = task.estimate_metrics(trial.attempt.models[-1], task.splits.tune)
    metric, limit = metrics[0], trial.attempt.recipe.gates.max_drop or 0.0
    drop = metric.get_drop_by(limit)
    trial.seen_drop = math.inf if drop is None or math.isnan(drop) else max(0.0, drop)
    trial.least_drop = find_least_drop(metrics, limit)
    trial.is_unproven = bool(trial.candidate.pruning_ratio) and is_left_to_confirm(metrics, limit, task.splits)
    many = bool(trial.candidate.pruning_ratio) and not trial.is_unproven
    trial.drop = bound_drop(metrics, limit, many=many)
    trial.metric, trial.metric_is_share = metric.name, can_be_asked_for(limit)
    # a guard may have lost more, and be in no doubt
    trial.describe_loss(max(metrics, key=lambda one: bound_drop([one], limit, many=many)))


def _compute_score(trial: Trial, goal: str, use_clock: bool) -> None:
    task, result = trial.attempt.task, trial.attempt.result
    assert result.latency is not None
    assert result.output is not None
    trial.shrinkage = task.original_facts.bytes / result.output.bytes
    fewer_macs = max(task.original_facts.macs, 1) / max(result.output.macs, 1)
    trial.speedup = discount_ratio(result.latency) if use_clock else math.nan
    trial.score = SCORE_FUNCTIONS[goal](trial.speedup if use_clock else fewer_macs, trial.shrinkage)
    physical_gates = dataclasses.replace(trial.attempt.recipe.gates, max_drop=None, min_agreement=None, min_sqnr=None)
    missed_gates = find_gate_failures(physical_gates, None, result.latency, trial.attempt.sizes)
    if use_clock and goal != "smallest" and is_slower(result.latency):
        missed_gates.append(SLOWER)
    if trial.shrinkage < 1:
        missed_gates.append(LARGER)
    trial.missed_gates = tuple(missed_gates)
