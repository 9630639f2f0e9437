"""The main job: try recipes within a budget, keep the best whose result passes on data that nothing was fitted on.

Each trial is judged on the *tune* share; the *confirm* data are read for the finalists only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from onnxslim import io
from onnxslim import recipe as recipes
from onnxslim.errors import GateError, UsageError
from onnxslim.execute import run
from onnxslim.kinds import DATA_HINT
from onnxslim.progress import Progress, silent
from onnxslim.prune.estimate import predict
from onnxslim.quantize import fewbits
from onnxslim.reading import DataOptions
from onnxslim.recipe import Recipe
from onnxslim.result import Result
from onnxslim.runtime.session import SessionConfig
from onnxslim.search.advice import advice
from onnxslim.search.ahead import begin
from onnxslim.search.budget import LEARNING, TRIALS, can_learn, reserve
from onnxslim.search.finalists import beaten, finalists
from onnxslim.search.front import front
from onnxslim.search.outcomes import Point, Wanted
from onnxslim.search.points import ahead, next_point
from onnxslim.search.study import Study
from onnxslim.search.trial import Trial, try_point
from onnxslim.sets import TUNE_SHARE
from onnxslim.task import Judge, Task, check_judge, prepare
from onnxslim.version import __version__
from onnxslim.workers import Workers, open_workers

logger = logging.getLogger(__name__)


def optimize(
    model: io.ModelLike,
    *,
    data: Any = None,
    eval_data: Any = None,
    recipe: str | os.PathLike[str] | Recipe = "balanced",
    max_drop: float | None = None,
    min_agreement: float | None = None,
    min_sqnr: float | None = None,
    max_size: int | None = None,
    min_ratio: float | None = None,
    max_latency: float | None = None,
    min_speedup: float | None = None,
    for_ort: str | None = None,
    strict: bool = False,
    budget: float = 600.0,
    placement: str = "measured",
    seed: int | None = None,
    study: str | os.PathLike[str] | None = None,
    backend: str | None = None,
    jobs: int | None = None,
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> Result:
    """The smallest, fastest model that is still right.

    A recipe of steps is carried out as it is. One that says what to search for (``balanced``, ``smallest``,
    ``fastest``) tries candidates while ``budget`` seconds last, judges each on a held-back share of ``data``, and shows
    those that promise most the ``eval_data`` until one passes.

    Args:
        model: The original; it is not changed.
        data: Fit data: a path, arrays, an iterable (see :func:`~onnxslim.data.sources.open_samples`).
        eval_data: Confirm data; without it a seeded quarter of ``data`` is held back. Where only these have labels, and
            plenty of them, a search chooses on a share of them and confirms on the rest.
        recipe: A preset's name, a YAML file, a model that carries one, or a :class:`~onnxslim.recipe.Recipe`.
        max_drop: Of the judged metric, in its own unit (0.01, which is the default, is one point of top-1).
        min_agreement: Share of samples whose answer is the original's.
        min_sqnr: Decibels, of every output.
        max_size: Bytes on disk.
        min_ratio: Times smaller than the original.
        max_latency: Seconds, the median of one inference.
        min_speedup: Times faster than the original.
        for_ort: The release of onnxruntime that has to load the result; candidates that it would not are left out.
        strict: Judge by the bad end of 95 % intervals.
        budget: Seconds. No trial begins that would not fit, going by those before it.
        placement: ``measured`` or ``static`` (see :class:`~onnxslim.quantize.QuantizeOptions`).
        seed: Of every draw; by default the recipe's.
        study: A folder that keeps every finished trial with its model; with one that is there already the search goes
            on where it was.
        backend: A running cluster that begins trials ahead (see :func:`~onnxslim.workers.open_workers`): what a clock
            decides is still done here, and the result is the same.
        jobs: How many trials are begun at a time; 1 here, a cluster's cores there.
        config: Where everything runs.
        read: How data are read.
        judge: What is judged.
        progress: Told how far it is.

    Raises:
        GateError: Nothing passes the gates.
        UsageError: No data; or the backend does not answer.
    """
    started = time.monotonic()
    asked: dict[str, Any] = {
        "max_drop": max_drop, "min_agreement": min_agreement, "min_sqnr": min_sqnr, "max_size": max_size,
        "min_ratio": min_ratio, "max_latency": max_latency, "min_speedup": min_speedup, "for_ort": for_ort,
        "strict": strict or None,
    }  # fmt: skip
    chosen = resolve(recipe, asked, placement, seed)
    data, eval_data = data if data is not None else chosen.data, eval_data if eval_data is not None else chosen.eval_data
    if config is None and chosen.provider is not None:
        config = SessionConfig(chosen.provider)
    if chosen.search is None:
        return run(
            model, chosen, data=data, eval_data=eval_data, budget=budget, config=config, read=read, judge=judge,
            progress=progress,
        )  # fmt: skip
    if data is None:
        raise UsageError("a search needs data", hint=DATA_HINT)
    task = prepare(
        model, "optimize", data=data, eval_data=eval_data, seed=chosen.seed, tune=TUNE_SHARE, budget=TRIALS * budget,
        config=config, read=read, judge=judge, progress=progress,
    )  # fmt: skip
    check_judge(task)
    with contextlib.ExitStack() as stack:
        kept = None if study is None else stack.enter_context(Study(study, _about(task, chosen, placement)))
        workers = stack.enter_context(open_workers(backend, jobs))
        trials, why = _search(task, chosen, placement, started, budget, kept, workers)
    result = _best(trials)
    result.extra["stopped"] = why
    return result


def resolve(
    recipe: str | os.PathLike[str] | Recipe, asked: dict[str, Any], placement: str, seed: int | None
) -> Recipe:
    """The recipe with what the caller asked for on top; a search has a gate on the drop, of one point by default."""
    chosen = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
    gates = dataclasses.replace(chosen.gates, **{name: value for name, value in asked.items() if value is not None})
    if gates.max_drop is None and gates.min_agreement is None and gates.min_sqnr is None:
        gates = dataclasses.replace(gates, max_drop=0.01)
    chosen = dataclasses.replace(recipes.placed(chosen, placement), gates=gates)
    return chosen if seed is None else dataclasses.replace(chosen, seed=seed)


def _search(
    task: Task,
    chosen: Recipe,
    placement: str,
    started: float,
    budget: float,
    study: Study | None,
    workers: Workers,
) -> tuple[list[Trial], str]:
    """The trials, and why there are no more of them."""
    want = chosen.search or "balanced"
    fit = task.sets.fit
    learning = LEARNING * budget if can_learn(task, LEARNING * budget) else 0.0
    of = "params" if want == "smallest" else "macs"
    pruning = 0.0 if fit is None else predict(task.original, fit, task.config)
    narrow = bool(fewbits.suited(task.original))
    trials: list[Trial] = []

    def asked(point: Point) -> Recipe:
        return Recipe(point.steps(placement), chosen.gates, chosen.seed, tune=TUNE_SHARE)

    while True:
        left = started + budget - reserve(task.sets, trials, budget) - time.monotonic()
        wanted = Wanted(chosen.gates.max_drop, left, learning, of, pruning, narrow)
        seen = [trial.outcome for trial in trials]
        point = next_point(seen, wanted)
        if point is None:
            more = next_point(seen, dataclasses.replace(wanted, left=float("inf")))
            return trials, "nothing more to try" if more is None else f"no time left to try {more.name}"
        if workers.elsewhere:
            recipes_ahead = [asked(one) for one in ahead(seen, wanted, workers.count)]
            begin(task, [one for one in recipes_ahead if study is None or study.find(one.text()) is None], workers)
        trials.append(try_point(task, point, asked(point), want, study, clock=placement != "static"))
        for trial in trials[1:]:
            if any(beaten(trial, other) for other in trials):
                trial.attempt.forget()
        task.progress("trials", len(trials), 0)


def _about(task: Task, chosen: Recipe, placement: str) -> dict[str, str]:
    """What makes two searches the same."""
    data = hashlib.sha256()
    for samples in (task.sets.fit, task.sets.tune):
        data.update(b"".join(samples.digests() if samples is not None else []) + b"|")
    return {
        "model": task.given.sha256,
        "data": data.hexdigest(),
        "search": f"{chosen.search} {placement} seed {chosen.seed}",
        "place": f"{task.config.provider} {task.config.threads} threads",
        "version": __version__,
    }


def _best(trials: Sequence[Trial]) -> Result:
    """The trial with the best score that passes, on tune first and then on confirm."""
    rejected = [f"candidate {trial.point.name} failed: {trial.error}" for trial in trials if trial.error is not None]
    waiting = finalists(trials)
    if not waiting:
        assert trials[0].cause is not None
        raise trials[0].cause
    told, failed = _told(trials), None
    for read, trial in enumerate(waiting, start=1):
        result = trial.attempt.result
        result.extra["candidates"], result.extra["chosen"] = told, trial.point.name
        if result.data["confirm"] is not None:
            result.data["confirm"]["read"] = read
        try:
            confirmed = trial.attempt.confirm()
        except GateError as error:
            rejected.append(f"candidate {trial.point.name} did not pass: {error.message}")
            failed = failed or error  # the best one's says how near it came
            continue
        confirmed.warnings.extend(rejected)
        if (line := advice(trials, trial)) is not None:
            confirmed.warnings.append(line)
        return confirmed
    assert failed is not None
    raise failed


def _told(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The trials for the report, with those marked that no other beats in size, time and drop at once."""
    entries = [trial.as_json() for trial in trials]
    infinite = float("inf")
    costs = [
        [infinite if entry[key] is None else entry[key] for key in ("bytes", "median_ms", "tune_drop")]
        for entry in entries
    ]
    best = set(front(costs))
    return [{**entry, "pareto": index in best} for index, entry in enumerate(entries)]

