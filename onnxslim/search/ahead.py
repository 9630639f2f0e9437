"""Trials begun by workers, as far as no clock decides: their steps are then known when the search asks for them.

The search itself stays what it is, one decision after another, so its results are those of one process. Steps that a
clock decides (a measured placement, a training of so many seconds) are done here, alone on the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxslim import io
from onnxslim.account import Account
from onnxslim.errors import LimitError, OnnxslimError
from onnxslim.kinds import KINDS
from onnxslim.reading import DataOptions
from onnxslim.recipe import Recipe, Repeat, Step
from onnxslim.result import facts
from onnxslim.runtime.session import SessionConfig
from onnxslim.sets import Sets
from onnxslim.steps import Done, begun
from onnxslim.task import Judge, Task
from onnxslim.workers import Workers

logger = logging.getLogger(__name__)

#: What travels back: a step with its options resolved, the model after it, and its account.
Carried = tuple[Step, bytes, Account]


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to carry out a recipe; paths of data must lead to the same files where it is.

    Attributes:
        model: The original.
        recipe: The steps, none of which a clock decides, with the gates and the seed.
        sets: Fit and tune samples.
        config: Where it runs.
        read: How data are read.
        judge: What is judged.
    """

    model: bytes
    recipe: Recipe
    sets: Sets
    config: SessionConfig
    read: DataOptions
    judge: Judge


def carry_out(job: Job) -> list[Carried] | OnnxslimError:
    """The recipe's steps, or why it cannot be done: that is an outcome too, and no reason to stop the others.

    Raises:
        LimitError: Memory or time is up.
    """
    original = io.load(job.model)
    task = Task("optimize", original, facts(original), job.sets, job.config, job.read, job.judge)
    try:
        done = task.runner(job.recipe).run(job.recipe.steps)
    except LimitError:
        raise
    except OnnxslimError as error:
        return error
    return [(one.step, io.to_bytes(one.model), one.account) for one in done]


def untimed(steps: Sequence[Step | Repeat]) -> tuple[Step, ...]:
    """The first steps, up to the first that a clock decides or that is a loop."""
    found: list[Step] = []
    for entry in steps:
        if isinstance(entry, Repeat) or KINDS[entry.name].timed(entry.options):
            break
        found.append(entry)
    return tuple(found)


def begin(task: Task, recipes: Sequence[Recipe], workers: Workers) -> None:
    """Have workers carry out the first steps of ``recipes``, all at once, and put what they did into the task's memory."""
    wanted: dict[str, Recipe] = {}
    for recipe in recipes:
        steps = untimed(recipe.steps)
        if steps and begun(steps) not in task.memory:
            wanted.setdefault(begun(steps), replace(recipe, steps=steps))
    model = io.to_bytes(task.original)
    sets = replace(task.sets, confirm=None)
    jobs = [Job(model, recipe, sets, task.config, task.read, task.judge) for recipe in wanted.values()]
    for recipe, found in zip(wanted.values(), workers.map(carry_out, jobs), strict=True):
        if isinstance(found, OnnxslimError):
            logger.info("on %s: %s", workers.name, found.message)
            continue
        for index, (step, data, account) in enumerate(found, start=1):
            task.memory.setdefault(begun(recipe.steps[:index]), Done(step, io.load(data), account))
    task.progress(f"trials, on {workers.name}", len(jobs), len(jobs))

