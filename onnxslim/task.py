"""What recipes are carried out on and judged by: the original, the data by use, and what "right" means for them."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.errors import InvalidDataError, UsageError
from onnxslim.kinds import Context
from onnxslim.progress import Progress, silent
from onnxslim.prune.survey import Surveys
from onnxslim.reading import DataOptions
from onnxslim.recipe import Recipe
from onnxslim.result import Facts, facts
from onnxslim.runtime.session import SessionConfig, check
from onnxslim.sets import TELLING, Sets, open_sets
from onnxslim.steps import Done, Runner
from onnxslim.validate.evaluate import evaluate_all
from onnxslim.validate.function import UserMetric
from onnxslim.validate.ledger import Evaluation
from onnxslim.validate.tally import Measured

#: Samples that show at once whether the original knows more than chance and the metric can be computed.
_KNOWING = 128


@dataclass(frozen=True)
class Judge:
    """What is judged, and by what; see :func:`onnxslim.validate.evaluate.evaluate`."""

    metric: str | UserMetric | None = None
    output: str | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Task:
    """What every recipe of one command starts from and is judged by.

    Attributes:
        command: Named in the results.
        original: The model that everything is compared with.
        given: Its facts.
        sets: The data, by use.
        config: Where everything runs.
        read: How data are read.
        judge: What is judged.
        progress: Told how far it is.
        deadline: On ``time.monotonic``'s clock, for loops and what tries several times.
        memory: See :class:`~onnxslim.steps.Runner`.
        surveys: See :class:`~onnxslim.kinds.Context`.
    """

    command: str
    original: ir.Model
    given: Facts
    sets: Sets
    config: SessionConfig = field(default_factory=SessionConfig)
    read: DataOptions = field(default_factory=DataOptions)
    judge: Judge = field(default_factory=Judge)
    progress: Progress = silent
    deadline: float | None = None
    memory: dict[str, Done] = field(default_factory=dict)
    surveys: Surveys = field(default_factory=dict)

    def runner(self, recipe: Recipe) -> Runner:
        """What carries out the steps of ``recipe``."""
        limit, tune = recipe.gates.max_drop, self.sets.tune or self.sets.fit

        def excess(model: ir.Model) -> float:
            if tune is None or limit is None:
                return 0.0
            drop = self.expected(model, tune).drop
            if drop is None or drop > limit == 0:
                return math.inf
            return drop / limit if limit else 0.0

        # layers go back to float by data that nothing was fitted on, or not at all
        judged = excess if limit is not None and self.sets.tune is not None else None
        context = Context(
            self.original, self.sets.fit, self.config, recipe.seed, self.progress, self.surveys, self.sets.tune,
            judged, self.deadline,
        )  # fmt: skip
        return Runner(context, lambda model: excess(model) > 1, self.deadline, self.memory)

    def expected(self, model: ir.Model, samples: Samples) -> Measured:
        """The metric on ``samples``, as far as so few can tell.

        Of scores that is the drop which the original's own confidence predicts: it varies less than a count of right
        answers. A few labels may only make it worse; many are counted and nothing else, because a network that is surer
        than it is right takes every answer that changed for a loss.
        """

        def measured(metric: str | UserMetric | None) -> Measured:
            return self.evaluate({"result": model}, samples, metric)["result"].metric

        if self.judge.metric is not None or (samples.labels is not None and len(samples) >= TELLING):
            return measured(None)
        try:
            predicted = measured("confidence")
        except UsageError:  # the output is no score of classes: it has a default metric of its own
            return measured(None)
        counted = measured(None) if samples.labels is not None else predicted
        return max(predicted, counted, key=lambda one: math.inf if one.drop is None else one.drop)

    def evaluate(
        self, models: dict[str, ir.Model], samples: Samples, metric: str | UserMetric | None = None
    ) -> dict[str, Evaluation]:
        """``models`` against the original on ``samples``, by ``metric`` or else the one that was asked for."""
        return evaluate_all(
            models, samples, reference=self.original, config=self.config, metric=metric or self.judge.metric,
            output=self.judge.output, batch_size=self.judge.batch_size, progress=self.progress,
        )  # fmt: skip


def prepare(
    model: io.ModelLike,
    command: str,
    *,
    data: Any = None,
    eval_data: Any = None,
    seed: int = 0,
    tune: float = 0.0,
    budget: float | None = None,
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> Task:
    """Load the original and the data, and refuse what the runtime or the model would refuse later.

    Args are those of :func:`~onnxslim.execute.run`; ``tune`` is the share of the data that is held back to choose by.
    """
    deadline = None if budget is None else time.monotonic() + budget
    config, read = config or SessionConfig(), read or DataOptions()
    original = io.load(model)
    check(original, config)
    given = facts(original, model if isinstance(model, (str, os.PathLike)) else None, read.dims)
    sets = open_sets(original, data, eval_data, read, seed, config, tune=tune)
    return Task(command, original, given, sets, config, read, judge or Judge(), progress, deadline)


def check_judge(task: Task) -> None:
    """Refuse, before any work, an original that guesses, and a metric that fails or does not go with the data.

    Raises:
        UsageError: The metric raised, or is not for such outputs.
        InvalidDataError: The labels are not of its kind, or the original does no better than chance. Asked of all
            samples when a few look like it.
    """
    samples, judge = task.sets.confirm, task.judge
    if samples is None or (samples.labels is None and judge.metric is None):
        return
    few = samples.take(np.arange(min(_KNOWING, len(samples))))
    try:
        task.evaluate({"original": task.original}, few)
    except (UsageError, InvalidDataError):
        task.evaluate({"original": task.original}, samples)
