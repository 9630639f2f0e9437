"""The main job: try recipes within a budget, keep the best whose result passes on data that nothing was fitted on.

Each trial is judged on the *tune* share; the *confirm* data are read for the finalists only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
from typing import Any

from onnxslim.activations.run_context import DATA_HINT
from onnxslim.core.attempts import find_folder, find_start
from onnxslim.core.errors import OnnxslimError, UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.version import __version__
from onnxslim.core.workers import open_workers
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import TUNE_SHARE
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import CompressionTask, check_metric, prepare_task
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.session import SessionConfig
from onnxslim.search.sample_limits import limit_samples
from onnxslim.search.search_loop import Search
from onnxslim.search.study import Study
from onnxslim.search.time_budget import TRIALS_SHARE

_searches = itertools.count()

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
    max_prompt_latency: float | None = None,
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
        max_latency: Seconds, the median of one inference; of a decoder's texts, of one step.
        max_prompt_latency: Seconds, the median of reading a prompt of the texts.
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
    name = f"search {next(_searches)}"
    started = find_start(name)
    gate_limits: dict[str, Any] = {
        "max_drop": max_drop, "min_agreement": min_agreement, "min_sqnr": min_sqnr, "max_size": max_size,
        "min_ratio": min_ratio, "max_latency": max_latency,
        "max_prompt_latency": max_prompt_latency, "min_speedup": min_speedup, "for_ort": for_ort,
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
    check_metric(task, resolved.gates.max_drop)
    with contextlib.ExitStack() as stack:
        open_study, folder = None, find_folder(name)
        if study is not None:
            open_study = stack.enter_context(Study(study, _identify_search(task, resolved, placement)))
        elif folder is not None:
            with contextlib.suppress(OnnxslimError):  # no room: where the process dies, all is done again
                open_study = stack.enter_context(Study(folder, {}, is_temporary=True))
        workers = stack.enter_context(open_workers(backend, jobs))
        if workers.is_out_of_process and current_device() is not None:
            raise UsageError(
                f"trials begun by {workers.name} and timed on a device: one of them",
                hint="what a trial asks of the kernels would be asked of the workers' machines",
            )
        task = limit_samples(task, budget, resolved.seed)
        search = Search(task, resolved, placement, started, budget, open_study, workers)
        stop_reason = search.run()
        result = search.confirm()
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


def _identify_search(task: CompressionTask, resolved: Recipe, placement: str) -> dict[str, str]:
    """What makes two searches the same."""
    data = hashlib.sha256()
    for samples in (task.splits.fit, task.splits.tune):
        data.update(b"".join(samples.digests() if samples is not None else []) + b"|")
    batch = f" batch {task.config.batch_size}" if task.config.batch_size > 1 else ""
    return {
        "model": task.original_facts.sha256,
        "data": data.hexdigest(),
        "search": f"{resolved.search} {placement} seed {resolved.seed}",
        "place": f"{task.config.provider} {task.config.threads} threads{batch}{_describe_place()}",
        "version": __version__,
    }


def _describe_place() -> str:
    """The device by its processor and runtime, wherever it is reached; nothing where models are timed here."""
    device = current_device()
    return "" if device is None else f" on {device.facts.get('cpu')}, onnxruntime {device.facts.get('onnxruntime')}"
