"""One trial of a search: a point carried out and judged on the tune share, written down so that it need not be again."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim import io
from onnxslim.account import Account
from onnxslim.errors import LimitError, OnnxslimError
from onnxslim.execute import Attempt, slower
from onnxslim.recipe import Recipe
from onnxslim.result import Stage, facts
from onnxslim.search.outcomes import Outcome, Point
from onnxslim.search.study import Study
from onnxslim.task import Task
from onnxslim.validate.gates import failures

logger = logging.getLogger(__name__)

#: What a search wants large, of how many times faster and how many times smaller a model became.
SCORES: dict[str, Callable[[float, float], float]] = {
    "balanced": lambda faster, smaller: faster * smaller,
    "smallest": lambda faster, smaller: smaller * faster**0.1,
    "fastest": lambda faster, smaller: faster * smaller**0.1,
}
#: Standard errors from the middle of a 95 % interval to its end.
Z95 = 1.96
#: What of a result a study keeps, besides the model.
_KEPT = ("latency", "measured", "extra", "warnings", "recipe")


@dataclass(eq=False)
class Trial:
    """A point of the search, what was measured of it, or why it failed.

    Attributes:
        point: What was tried.
        attempt: The recipe and everything that came of it.
        drop: On the tune share; infinite when the trial failed.
        score: What the search wants large.
        seconds: What it took.
        judging: What of that went to judging it on the tune share; 0 of what a study knew.
        metric: What dropped, and whether it is a share, which people read in points.
        share: See ``metric``.
        missed: Gates on size and time that it does not meet.
        error: Why it failed, or None.
        cause: The same as it was raised; a study remembers the message alone.
    """

    point: Point
    attempt: Attempt
    drop: float = math.inf
    score: float = 0.0
    seconds: float = 0.0
    judging: float = 0.0
    metric: str | None = None
    share: bool = False
    missed: tuple[str, ...] = ()
    error: str | None = None
    cause: OnnxslimError | None = None

    @property
    def outcome(self) -> Outcome:
        """What decides where the search goes next."""
        return Outcome(self.point, self.drop, self.score, self.seconds)

    @property
    def passes(self) -> bool:
        """Whether it meets every gate as far as the tune share and the clock can tell."""
        limit = self.attempt.recipe.gates.max_drop
        return self.error is None and not self.missed and (limit is None or self.drop <= limit)

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        result = self.attempt.result
        return {
            "name": self.point.name,
            "tune_drop": self.drop if math.isfinite(self.drop) else None,
            "tune_metric": self.metric,
            "unit": "%" if self.share else None,
            "speedup": result.latency["ratio"] if result.latency else None,
            "median_ms": result.latency["result"]["median_ms"] if result.latency else None,
            "bytes": result.output.bytes if result.output else None,
            "seconds": round(self.seconds, 1),
            "passes": self.passes,
            "missed": list(self.missed),
            "error": self.error,
            "note": next((one.details["mixed"]["why"] for one in result.steps if "mixed" in one.details), None),
        }


def try_point(
    task: Task, point: Point, recipe: Recipe, want: str, study: Study | None = None, *, clock: bool = True
) -> Trial:
    """Carry out ``point``, or read what a study knows of it.

    A failure of the point is an outcome; that the process may not go on is not.

    Args:
        task: What it is about.
        point: What to try.
        recipe: Its steps, with the gates and the seed.
        want: A key of :data:`SCORES`.
        study: Where finished trials are.
        clock: Whether a measured time counts; otherwise the multiplications saved stand for the speed, so that every
            machine ranks alike.

    Raises:
        LimitError: Memory or time is up.
    """
    trial = Trial(point, Attempt(task, recipe))
    if study is not None and (known := study.find(recipe.text())) is not None:
        _recall(trial, *known)
        logger.info("trial %s: known from the study", point.name)
        return trial
    started = time.monotonic()
    try:
        trial.attempt.apply()
        trial.attempt.measure()
        measured = time.monotonic()
        _judge(trial)
        trial.judging = time.monotonic() - measured
        _score(trial, want, clock)
    except LimitError:
        raise
    except OnnxslimError as error:
        trial.error, trial.cause, trial.drop = error.message, error, math.inf
    trial.seconds = time.monotonic() - started
    logger.info("trial %s: %s", point.name, trial.as_json())
    if study is not None:
        study.add(
            point.name, recipe.text(), _record(trial), trial.attempt.result.model if trial.error is None else None
        )
    return trial


def _judge(trial: Trial) -> None:
    """The drop on the tune share, of what is pruned with its standard error on top; without a share nothing is held
    against it.

    Shares to prune are chosen among many by the drop seen, and of many the luckiest looks best.
    """
    task = trial.attempt.task
    trial.drop = 0.0
    if task.sets.tune is None:
        return
    measured = task.expected(trial.attempt.models[-1], task.sets.tune)
    trial.drop = math.inf if measured.drop is None else max(0.0, measured.drop)
    trial.metric, trial.share = measured.name, measured.share
    if trial.point.share and measured.interval is not None:
        trial.drop += max(0.0, measured.interval[1] - trial.drop) / Z95


def _score(trial: Trial, want: str, clock: bool) -> None:
    task, result = trial.attempt.task, trial.attempt.result
    assert result.latency is not None
    assert result.output is not None
    faster = result.latency["ratio"] if clock else max(task.given.macs, 1) / max(result.output.macs, 1)
    trial.score = SCORES[want](faster, task.given.bytes / result.output.bytes)
    physical = dataclasses.replace(trial.attempt.recipe.gates, max_drop=None, min_agreement=None, min_sqnr=None)
    missed = failures(physical, None, result.latency, trial.attempt.sizes)
    if clock and want != "smallest" and slower(result.latency):
        missed.append("slower than the original")
    trial.missed = tuple(missed)


def _record(trial: Trial) -> dict[str, Any]:
    result = trial.attempt.result
    return {
        "drop": trial.drop if math.isfinite(trial.drop) else None,
        "score": trial.score,
        "seconds": trial.seconds,
        "metric": trial.metric,
        "share": trial.share,
        "missed": list(trial.missed),
        "error": trial.error,
        "steps": [account.as_json() for account in result.steps],
        "stages": [dict(vars(stage)) for stage in result.stages],
        **{name: getattr(result, name) for name in _KEPT},
    }


def _recall(trial: Trial, known: Mapping[str, Any], path: str | None) -> None:
    result = trial.attempt.result
    trial.drop = math.inf if known["drop"] is None else known["drop"]
    trial.score, trial.seconds, trial.error = known["score"], known["seconds"], known["error"]
    trial.missed, trial.metric, trial.share = tuple(known["missed"]), known["metric"], known["share"]
    if trial.error is not None:
        trial.cause = OnnxslimError(trial.error)
    result.steps = [Account.from_json(account) for account in known["steps"]]
    result.stages = [Stage(**stage) for stage in known["stages"]]
    for name in _KEPT:
        setattr(result, name, known[name])
    if path is not None:
        result.model = io.load(path)
        trial.attempt.models = [result.model]
        result.output = facts(result.model, dims=trial.attempt.task.read.dims)
