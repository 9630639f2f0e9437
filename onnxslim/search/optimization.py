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

from onnxslim.activations.run_context import DATA_HINT
from onnxslim.core.errors import GateError, UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.version import __version__
from onnxslim.core.workers import Workers, open_workers
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import TUNE_SHARE
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import CompressionTask, EvaluationOptions, check_metric, prepare_task
from onnxslim.pruning.selection.time_estimate import predict_seconds
from onnxslim.quantization.weight_only import int4_linear
from onnxslim.runtime.session import SessionConfig
from onnxslim.search.advice import suggest_max_drop
from onnxslim.search.candidate import Candidate, SearchState
from onnxslim.search.finalists import is_dominated, select_finalists
from onnxslim.search.next_candidate import choose_next_candidate, predict_candidates
from onnxslim.search.pareto import pareto_front
from onnxslim.search.speculation import run_speculatively
from onnxslim.search.study import Study
from onnxslim.search.time_budget import RECOVERY_SHARE, TRIALS_SHARE, can_recover, reserve_confirm_seconds
from onnxslim.search.trial import Trial, run_trial

logger = logging.getLogger(__name__)

#: Seconds that a search takes unless told otherwise.
DEFAULT_BUDGET = 600.0


def optimize(
    model: model_file.ModelLike,
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
    budget: float | None = None,
    placement: str = "measured",
    seed: int | None = None,
    study: str | os.PathLike[str] | None = None,
    backend: str | None = None,
    jobs: int | None = None,
    keep_initializer_inputs: bool = False,
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: EvaluationOptions | None = None,
    progress: Progress = ignore_progress,
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
        recipe: A preset's name, a YAML file, a model that carries one, or a :class:`~onnxslim.pipeline.recipe.Recipe`.
        max_drop: Of the judged metrics: 0.01, the default, is what weighs as much as one point of top-1
            (:attr:`~onnxslim.validation.metrics.metric.Metric.point`); in the metric's own unit with
            :class:`~onnxslim.core.quantities.Units`.
        min_agreement: Share of samples whose answer is the original's.
        min_sqnr: Decibels, of every output.
        max_size: Bytes on disk.
        min_ratio: Times smaller than the original.
        max_latency: Seconds, the median of one inference.
        min_speedup: Times faster than the original.
        for_ort: The release of onnxruntime that has to load the result; candidates that it would not are left out.
        strict: Judge by the bad end of 95 % intervals.
        budget: Seconds, 600 by default. No trial begins that would not fit, going by those before it. Of a recipe of steps
            it is what they may take; by default as long as they take, so that no clock decides anything.
        placement: ``measured`` or ``static`` (see :class:`~onnxslim.quantization.options.QuantizeOptions`).
        seed: Of every draw; by default the recipe's.
        study: A folder that keeps every finished trial with its model; with one that is there already the search goes
            on where it was.
        backend: A running cluster that begins trials ahead (see :func:`~onnxslim.core.workers.open_workers`): what a clock
            decides is still done here, and the result is the same.
        jobs: How many trials are begun at a time; 1 here, a cluster's cores there.
        keep_initializer_inputs: Keep as inputs what initializers are the defaults of, so that callers can replace it. By
            default only what ``data`` or ``eval_data`` feed stays one, and the other weights are constants.
        config: Where everything runs.
        read: How data are read.
        judge: What is judged.
        progress: Told how far it is.

    Raises:
        GateError: Nothing passes the gates.
        UsageError: No data; or the backend does not answer.
    """
    started = time.monotonic()
    gate_limits: dict[str, Any] = {
        "max_drop": max_drop, "min_agreement": min_agreement, "min_sqnr": min_sqnr, "max_size": max_size,
        "min_ratio": min_ratio, "max_latency": max_latency, "min_speedup": min_speedup, "for_ort": for_ort,
        "strict": strict or None,
    }  # fmt: skip
    resolved = resolve_recipe(recipe, gate_limits, placement, seed, keep_initializer_inputs=keep_initializer_inputs)
    data, eval_data = data if data is not None else resolved.data, eval_data if eval_data is not None else resolved.eval_data
    if config is None and resolved.provider is not None:
        config = SessionConfig(resolved.provider)
    if resolved.search is None:
        return run_recipe(
            model, resolved, data=data, eval_data=eval_data, budget=budget, config=config, read=read, judge=judge,
            progress=progress,
        )  # fmt: skip
    if data is None:
        raise UsageError("a search needs data", hint=DATA_HINT)
    budget = DEFAULT_BUDGET if budget is None else budget
    task = prepare_task(
        model, "optimize", data=data, eval_data=eval_data, seed=resolved.seed, tune=TUNE_SHARE, budget=TRIALS_SHARE * budget,
        config=config, read=read, judge=judge, keep_initializer_inputs=resolved.keep_initializer_inputs, progress=progress,
    )  # fmt: skip
    check_metric(task)
    with contextlib.ExitStack() as stack:
        open_study = None
        if study is not None:
            open_study = stack.enter_context(Study(study, _identify_search(task, resolved, placement)))
        workers = stack.enter_context(open_workers(backend, jobs))
        trials, stop_reason = _search(
            task, resolved, placement, started=started, budget=budget, study=open_study, workers=workers
        )
    result = _confirm_best(trials)
    result.extra["stopped"] = stop_reason
    return result


def resolve_recipe(
    recipe: str | os.PathLike[str] | Recipe,
    gate_limits: dict[str, Any],
    placement: str,
    seed: int | None,
    *,
    keep_initializer_inputs: bool = False,
) -> Recipe:
    """The recipe with what the caller asked for on top; a search has a gate on the drop, of one point by default.

    Raises:
        UsageError: There is no such recipe, or a value in it is of the wrong type.
    """
    resolved = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
    gates = dataclasses.replace(resolved.gates, **{name: value for name, value in gate_limits.items() if value is not None})
    if gates.max_drop is None and gates.min_agreement is None and gates.min_sqnr is None:
        gates = dataclasses.replace(gates, max_drop=0.01)
    resolved = dataclasses.replace(recipes.set_placement(resolved, placement), gates=gates)
    if keep_initializer_inputs:
        resolved = dataclasses.replace(resolved, keep_initializer_inputs=True)
    return recipes.check(resolved if seed is None else dataclasses.replace(resolved, seed=seed))


def _search(
    task: CompressionTask,
    resolved: Recipe,
    placement: str,
    *,
    started: float,
    budget: float,
    study: Study | None,
    workers: Workers,
) -> tuple[list[Trial], str]:
    """The trials, and why there are no more of them."""
    goal = resolved.search or "balanced"
    fit = task.splits.fit
    recovery_seconds = RECOVERY_SHARE * budget if can_recover(task, RECOVERY_SHARE * budget) else 0.0
    of = "params" if goal == "smallest" else "macs"
    pruning_seconds = 0.0 if fit is None else predict_seconds(task.original, fit, task.config)
    has_int4_layers = bool(int4_linear.find_int4_layers(task.original))
    trials: list[Trial] = []

    def make_recipe(candidate: Candidate) -> Recipe:
        idle_share = trials[0].idle_share if trials else 0.0
        return Recipe(
            candidate.steps(placement, idle_share), resolved.gates, resolved.seed, tune=TUNE_SHARE,
            keep_initializer_inputs=resolved.keep_initializer_inputs,
        )  # fmt: skip

    while True:
        seconds_left = started + budget - reserve_confirm_seconds(task.splits, trials, budget) - time.monotonic()
        state = SearchState(resolved.gates.max_drop, seconds_left, recovery_seconds, of, pruning_seconds, has_int4_layers)
        history = [trial.outcome for trial in trials]
        candidate = choose_next_candidate(history, state)
        if candidate is None:
            candidate = choose_next_candidate(history, dataclasses.replace(state, seconds_left=float("inf")))
            return trials, "nothing more to try" if candidate is None else f"no time left to try {candidate.name}"
        if workers.is_out_of_process:
            predicted = map(make_recipe, predict_candidates(history, state, workers.count))
            unknown = [recipe for recipe in predicted if study is None or study.find(recipe.to_yaml()) is None]
            run_speculatively(task, unknown, workers)
        trials.append(run_trial(task, candidate, make_recipe(candidate), goal, study, use_clock=placement != "static"))
        for trial in trials[1:]:
            if any(is_dominated(trial, other) for other in trials):
                trial.attempt.release_models()
        task.progress("trials", len(trials), 0)


def _identify_search(task: CompressionTask, resolved: Recipe, placement: str) -> dict[str, str]:
    """What makes two searches the same."""
    data = hashlib.sha256()
    for samples in (task.splits.fit, task.splits.tune):
        data.update(b"".join(samples.digests() if samples is not None else []) + b"|")
    return {
        "model": task.original_facts.sha256,
        "data": data.hexdigest(),
        "search": f"{resolved.search} {placement} seed {resolved.seed}",
        "place": f"{task.config.provider} {task.config.threads} threads",
        "version": __version__,
    }


def _confirm_best(trials: Sequence[Trial]) -> Result:
    """The trial with the best score that passes, on tune first and then on confirm."""
    rejected = [f"candidate {trial.candidate.name} failed: {trial.error}" for trial in trials if trial.error is not None]
    shortlist = select_finalists(trials)
    if not shortlist:
        assert trials[0].cause is not None
        raise trials[0].cause
    entries, first_failure = _list_trials(trials), None
    for confirm_reads, trial in enumerate(shortlist, start=1):
        result = trial.attempt.result
        result.extra["candidates"], result.extra["chosen"] = entries, trial.candidate.name
        if result.data["confirm"] is not None:
            result.data["confirm"]["read"] = confirm_reads
        try:
            confirmed = trial.attempt.confirm()
        except GateError as error:
            rejected.append(f"candidate {trial.candidate.name} did not pass: {error.message}")
            first_failure = first_failure or error  # the best one's says how near it came
            continue
        confirmed.warnings.extend(rejected)
        if (suggestion := suggest_max_drop(trials, trial)) is not None:
            confirmed.warnings.append(suggestion)
        return confirmed
    assert first_failure is not None
    raise first_failure


def _list_trials(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The trials for the report, with those marked that no other beats in size, time and drop at once."""
    entries = [trial.as_json() for trial in trials]
    costs = [[entry[key] for key in ("bytes", "median_ms", "tune_drop")] for entry in entries]
    on_front = set(pareto_front(costs))
    return [{**entry, "pareto": index in on_front} for index, entry in enumerate(entries)]
