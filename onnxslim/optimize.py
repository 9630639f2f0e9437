"""The main job: try recipes within a budget, keep the best whose result passes on data that nothing was fitted on.

Each candidate is judged on the *tune* share; the *confirm* data are read for the finalists only.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

from onnxslim import io
from onnxslim import recipe as recipes
from onnxslim.data.samples import Samples
from onnxslim.errors import GateError, OnnxslimError, UsageError
from onnxslim.execute import Attempt, Judge, Task, check_judge, prepare, run
from onnxslim.progress import Progress, silent
from onnxslim.reading import DataOptions
from onnxslim.recipe import Recipe
from onnxslim.result import Result
from onnxslim.runtime.session import SessionConfig
from onnxslim.validate.function import UserMetric
from onnxslim.validate.gates import Gates

logger = logging.getLogger(__name__)

#: How many finalists may be shown the confirm data; every one more is another chance to pass by luck.
FINALISTS = 3


def optimize(
    model: io.ModelLike,
    *,
    data: Any,
    eval_data: Any = None,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    max_drop: float | None = 0.01,
    min_speedup: float | None = None,
    max_size: int | None = None,
    for_ort: str | None = None,
    budget: float = 600.0,
    placement: str = "measured",
    seed: int = 0,
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> Result:
    """The smallest, fastest model that is still right.

    With ``recipe`` exactly that is run. Without, candidates are tried while ``budget`` seconds last, each is judged on
    a held-back share of ``data``, and those that promise most are judged on ``eval_data`` until one passes.

    Args:
        model: The original; it is not changed.
        data: Fit data: a path, arrays, an iterable (see :func:`~onnxslim.data.sources.open_samples`).
        eval_data: Confirm data; without it a seeded quarter of ``data`` is held back.
        recipe: A preset's name, a YAML file, a model that carries one, or a :class:`~onnxslim.recipe.Recipe`.
        max_drop: Of the judged metric, in its own unit (0.01 is one point of top-1).
        min_speedup: Times faster than the original.
        max_size: Bytes on disk.
        for_ort: The release of onnxruntime that has to load the result; candidates that it would not are left out.
        budget: Seconds for the search; a candidate under way is finished.
        placement: ``measured`` or ``static`` (see :class:`~onnxslim.quantize.QuantizeOptions`).
        seed: Of every draw.
        config: Where everything runs.
        read: How data are read.
        judge: What is judged.
        progress: Told how far it is.

    Raises:
        GateError: Nothing passes the gates.
    """
    asked: dict[str, Any] = {
        "max_drop": max_drop, "min_speedup": min_speedup, "max_size": max_size, "for_ort": for_ort,
    }  # fmt: skip
    if recipe is not None:
        chosen = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
        gates = dataclasses.replace(chosen.gates, **{k: v for k, v in asked.items() if v is not None})
        chosen = dataclasses.replace(recipes.placed(chosen, placement), gates=gates)
        return run(
            model, chosen, data=data, eval_data=eval_data, config=config, read=read, judge=judge, progress=progress
        )
    started = time.monotonic()
    task = prepare(
        model, "optimize", data=data, eval_data=eval_data, seed=seed, tune=True, config=config, read=read, judge=judge,
        progress=progress,
    )  # fmt: skip
    check_judge(task)
    tried: list[_Tried] = []
    warnings = []
    for name, steps in recipes.candidates(placement).items():
        if tried and time.monotonic() - started > budget:
            warnings.append(f"the budget of {budget:g} s ended before candidate {name}")
            break
        tried.append(_Tried(name, Attempt(task, Recipe(steps, Gates(**asked), seed))))
        tried[-1].run(clock=placement != "static")
    result = _best(tried)
    result.warnings.extend(warnings)
    return result


@dataclass
class _Tried:
    """One candidate of the search: what the tune share says of it, or why it failed."""

    name: str
    attempt: Attempt
    drop: float = 0.0
    score: float = 0.0
    error: OnnxslimError | None = None

    def run(self, *, clock: bool) -> None:
        """Carry it out; the score is how many times smaller it is, times how many times faster it runs.

        Without a ``clock`` the multiplications saved stand for the speed, so that every machine ranks alike.
        """
        task, result = self.attempt.task, self.attempt.result
        try:
            self.attempt.apply()
            self.attempt.measure()
            if task.sets.tune is not None:
                assert result.model is not None
                self.drop = _expected_drop(task, result, task.sets.tune)
        except OnnxslimError as error:
            logger.info("candidate %s: %s", self.name, error.message)
            self.error = error
            return
        assert result.latency is not None
        assert result.output is not None
        faster = result.latency["ratio"] if clock else max(task.given.macs, 1) / max(result.output.macs, 1)
        self.score = faster * task.given.bytes / result.output.bytes

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        result = self.attempt.result
        return {
            "name": self.name,
            "tune_drop": None if self.error else self.drop,
            "speedup": result.latency["ratio"] if result.latency else None,
            "bytes": result.output.bytes if result.output else None,
            "error": None if self.error is None else self.error.message,
        }


def _expected_drop(task: Task, result: Result, tune: Samples) -> float:
    """The drop on the tune share: by labels where there are any, else as the original's own confidence predicts it."""
    assert result.model is not None
    models = {"result": result.model}

    def drop(metric: str | UserMetric | None) -> float:
        found = task.evaluate(models, tune, metric)["result"].metric.drop
        return found if found is not None else float("inf")

    if task.judge.metric is not None or tune.labels is not None:
        return drop(None)
    try:
        return drop("confidence")
    except UsageError:  # the output is no score of classes: its own default metric needs no labels
        return drop(None)


def _best(tried: list[_Tried]) -> Result:
    """The candidate with the best score that passes, on tune first and then on confirm."""
    alive = [one for one in tried if one.error is None]
    if not alive:
        error = tried[0].error
        assert error is not None
        raise error
    limit = alive[0].attempt.recipe.gates.max_drop
    ranked = sorted(alive, key=lambda one: (limit is not None and one.drop > limit, -one.score))
    rejected: list[str] = []
    for read, candidate in enumerate(ranked[:FINALISTS], start=1):
        result = candidate.attempt.result
        result.extra["candidates"] = [one.as_json() for one in tried]
        result.extra["chosen"] = candidate.name
        if result.data["confirm"] is not None:
            result.data["confirm"]["read"] = read
        result.warnings.extend(rejected)
        try:
            return candidate.attempt.confirm()
        except GateError as error:
            rejected.append(f"candidate {candidate.name} did not pass: {error.message}")
            last = error
    raise last
