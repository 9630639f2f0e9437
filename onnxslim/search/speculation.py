"""Trials begun by workers, as far as no clock decides: their steps are then known when the search asks for them.

The search itself stays what it is, one decision after another, so its results are those of one process. Steps that a
clock decides (a measured placement, a training of so many seconds) are done here, alone on the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxslim.core.errors import LimitError, OnnxslimError
from onnxslim.core.step_report import StepReport
from onnxslim.core.workers import Workers
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.recipe import Recipe, Repeat, Step
from onnxslim.pipeline.result import compute_facts
from onnxslim.pipeline.step_registry import STEP_REGISTRY
from onnxslim.pipeline.step_runner import CompletedStep, make_prefix_key
from onnxslim.pipeline.task import CompressionTask
from onnxslim.runtime.session import SessionConfig

logger = logging.getLogger(__name__)

#: What travels back: a step with its options resolved, the model after it, and its report.
SerializedStep = tuple[Step, bytes, StepReport]


@dataclass(frozen=True)
class RecipeJob:
    """Everything a worker needs to carry out a recipe; paths of data must lead to the same files where it is.

    Attributes:
        model: The original.
        recipe: The steps, none of which a clock decides, with the gates and the seed.
        splits: Fit and tune samples.
        config: Where it runs.
        read: How data are read.
        judge: What is judged.
    """

    model: bytes
    recipe: Recipe
    splits: DataSplits
    config: SessionConfig
    read: DataOptions
    judge: EvaluationOptions


def run_job(job: RecipeJob) -> list[SerializedStep] | OnnxslimError:
    """Carry out the recipe; its steps, or why it cannot be done: that is an outcome too, and no reason to stop the others.

    Raises:
        LimitError: Memory or time is up.
    """
    original = model_file.load(job.model)
    task = CompressionTask("optimize", original, compute_facts(original), job.splits, job.config, job.read, job.judge)
    try:
        completed = task.make_runner(job.recipe).run(job.recipe.steps)
    except LimitError:
        raise
    except OnnxslimError as error:
        return error
    return [(entry.step, model_file.to_bytes(entry.model), entry.report) for entry in completed]


def select_untimed_steps(steps: Sequence[Step | Repeat]) -> tuple[Step, ...]:
    """The first steps, up to the first that a clock decides or that is a loop."""
    untimed_steps: list[Step] = []
    for entry in steps:
        if isinstance(entry, Repeat) or STEP_REGISTRY[entry.name].is_timed(entry.options):
            break
        untimed_steps.append(entry)
    return tuple(untimed_steps)


def run_speculatively(task: CompressionTask, recipes: Sequence[Recipe], workers: Workers) -> None:
    """Have workers carry out the first steps of ``recipes``, all at once, and put what they did into the task's memory."""
    missing_recipes: dict[str, Recipe] = {}
    for recipe in recipes:
        steps = select_untimed_steps(recipe.steps)
        if steps and make_prefix_key(steps) not in task.step_cache:
            missing_recipes.setdefault(make_prefix_key(steps), replace(recipe, steps=steps))
    model = model_file.to_bytes(task.original)
    splits = replace(task.splits, confirm=None)
    jobs = [RecipeJob(model, recipe, splits, task.config, task.read, task.judge) for recipe in missing_recipes.values()]
    for recipe, outcome in zip(missing_recipes.values(), workers.map(run_job, jobs), strict=True):
        if isinstance(outcome, OnnxslimError):
            logger.info("on %s: %s", workers.name, outcome.message)
            continue
        for index, (step, data, report) in enumerate(outcome, start=1):
            task.step_cache.setdefault(
                make_prefix_key(recipe.steps[:index]), CompletedStep(step, model_file.load(data), report)
            )
    task.progress(f"trials, on {workers.name}", len(jobs), len(jobs))
