"""One recipe from a model and data to a result: opened, carried out, timed and judged."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from onnxslim.core.errors import GateError, NothingGainedError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.graph.signature import freeze_initializer_inputs, list_input_names
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.attempt import Attempt
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import TUNE_SHARE
from onnxslim.pipeline.download_size import measure_download
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.kept_original import keep_original
from onnxslim.pipeline.recipe import Recipe, Repeat, Step
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import check_metric, prepare_task
from onnxslim.pruning.options import PruneOptions
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig
from onnxslim.validation.latency import is_slower

IfSlower = Literal["warn", "tell", "refuse"]


def run_recipe(
    model: model_file.ModelLike,
    recipe: Recipe,
    *,
    start: model_file.ModelLike | None = None,
    data: Any = None,
    eval_data: Any = None,
    command: str = "optimize",
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: EvaluationOptions | None = None,
    time_it: bool = True,
    if_slower: IfSlower = "warn",
    budget: float | None = None,
    progress: Progress = ignore_progress,
) -> Result:
    """Execute ``recipe`` and judge what comes out; where a step gains nothing that is the original as it is.

    Args:
        model: The original; it is not changed.
        recipe: Steps, gates and seed.
        start: What the first step begins with, when that is a compressed ``model`` already; by default ``model``.
        data: What steps are fitted on; without ``eval_data`` a seeded quarter is held back to judge by.
        eval_data: What the result is judged on.
        command: Named in the result.
        config: Where everything runs.
        read: How data are read.
        judge: What is judged.
        time_it: Measure latency and peak memory, unless a step quantises for a target that is not here.
        if_slower: Of a result that is timed and slower than the original beyond chance: ``warn``, ``tell`` in the first line
            of the summary, or ``refuse`` it as a gate does.
        budget: Seconds that steps may take: what they would choose or fit after that is left as it is, and no turn of a
            loop begins. None: as long as they take.
        progress: Told how far it is.

    Raises:
        GateError: A gate of the recipe is not met; its ``result`` attribute holds everything that was measured.
        OnnxslimError: Whatever a step raises.
    """
    has_drop_gate = recipe.gates.max_drop is not None
    needs_tune = any(isinstance(step, Repeat) or (has_drop_gate and step.name == "quantize") for step in recipe.steps)
    if not recipe.tune and needs_tune:
        recipe = dataclasses.replace(recipe, tune=TUNE_SHARE)
    task = prepare_task(
        model, command, data=data, eval_data=eval_data, seed=recipe.seed, tune=recipe.tune, budget=budget, config=config,
        read=read, judge=judge, runs=time_it or data is not None or eval_data is not None,
        keep_initializer_inputs=recipe.keep_initializer_inputs, progress=progress,
    )  # fmt: skip
    check_metric(task, recipe.gates.max_drop)
    attempt = Attempt(task, recipe)
    start_model = None if start is None else model_file.load(start)
    if start_model is not None:
        freeze_initializer_inputs(start_model, list_input_names(task.original))
    try:
        attempt.apply(start_model)
    except NothingGainedError as error:
        return keep_original(task, recipe, error.message)
    if any(target.is_downloaded for target in _list_targets(recipe)):
        attempt.result.extra["download"] = measure_download(task.original, attempt.models[-1])
    if time_it and _runs_on_targets(recipe, task.config):
        attempt.measure()
        _act_if_slower(attempt.result, if_slower)
    elif time_it:
        attempt.result.warnings.append("not timed: the target is not here; onnxslim benchmark does it there")
    return attempt.confirm()


def _act_if_slower(result: Result, if_slower: IfSlower) -> None:
    """Tell of a result that is slower than the original, or refuse it."""
    if result.latency is None or not is_slower(result.latency):
        return
    times = f"{result.latency['result']['median_ms']:.3g} ms for {result.latency['original']['median_ms']:.3g} ms"
    text = f"slower than the original: {result.latency['ratio']:.2f}× its speed ({times})"
    if if_slower == "tell" or (if_slower == "refuse" and _has_counted_otherwise(result)):
        result.extra["summary"] = text
    elif if_slower == "refuse":
        error = GateError(f"the result would be {text}", hint="nothing was written; ask for more of the time, or name --of")
        error.result = result  # type: ignore[attr-defined]
        raise error


def _has_counted_otherwise(result: Result) -> bool:
    """Whether what went was a share of something else than the time: of a model that is too small for the clock."""
    steps = [] if result.recipe is None else _list_steps(recipes.parse(result.recipe))
    done = [step.options for step in steps if isinstance(step.options, PruneOptions)]
    return any(options.remove is not None and not options.counts_time for options in done)


def _runs_on_targets(recipe: Recipe, config: SessionConfig) -> bool:
    """Whether sessions of ``config`` are what ``recipe`` quantises for: times elsewhere say nothing."""
    return all(target.runs_on(config.provider_name) for target in _list_targets(recipe))


def _list_targets(recipe: Recipe) -> list[Target]:
    """What the steps of ``recipe`` quantise for."""
    steps = [step for step in _list_steps(recipe) if step.name == "quantize"]
    return [TARGETS[step.options.target] for step in steps if step.options.target in TARGETS]


def _list_steps(recipe: Recipe) -> list[Step]:
    return [step for entry in recipe.steps for step in (entry.steps if isinstance(entry, Repeat) else (entry,))]
