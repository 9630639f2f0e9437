"""What recipes are carried out on and judged by: the original, the data by use, and what "right" means for them."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Samples
from onnxslim.graph.signature import describe_frozen_inputs, freeze_initializer_inputs, list_input_names
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import MIN_TELLING_LABELS, DataSplits, open_splits
from onnxslim.pipeline.drop_bounds import bound_drop, find_least_drop
from onnxslim.pipeline.judging import EvaluationOptions, count_labels, settle_judging
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.result import ModelFacts, compute_facts
from onnxslim.pipeline.step_registry import StepContext
from onnxslim.pipeline.step_runner import CompletedStep, Runner
from onnxslim.pruning.selection.survey import Surveys
from onnxslim.quantization.context import DropOverLimit
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.load_check import check_survives
from onnxslim.runtime.memory import release_freed_memory
from onnxslim.runtime.session import SessionConfig, check_loads, open_timed_session
from onnxslim.validation.evaluation import evaluate_all
from onnxslim.validation.evaluation_accumulator import Evaluation, get_comparable_drop
from onnxslim.validation.kind_accumulator import check_measurable
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.output_kinds.kind import LabelWeight
from onnxslim.validation.sanity_checks import describe_resolution

logger = logging.getLogger(__name__)

#: Samples that show at once whether the original knows more than chance and the metric can be computed.
_CHECK_SAMPLES = 128


@dataclass(frozen=True)
class CompressionTask:
    """What every recipe of one command starts from and is judged by.

    Attributes:
        command: Named in the results.
        original: The model that everything is compared with, its weights constants (``frozen_inputs`` are no inputs here).
        original_facts: Its facts.
        splits: The data, by use.
        config: Where everything runs.
        read: How data are read.
        judge: What is judged.
        progress: Told how far it is.
        deadline: On ``time.monotonic``'s clock, for loops and what tries several times.
        step_cache: See :class:`~onnxslim.pipeline.step_runner.Runner`.
        surveys: See :class:`~onnxslim.pipeline.step_registry.StepContext`.
        as_given: The original as its file says it, which is what times are compared with; None where ``original`` is that.
        frozen_inputs: Initializers that its file lists as inputs too.
    """

    command: str
    original: ir.Model
    original_facts: ModelFacts
    splits: DataSplits
    config: SessionConfig = field(default_factory=SessionConfig)
    read: DataOptions = field(default_factory=DataOptions)
    judge: EvaluationOptions = field(default_factory=EvaluationOptions)
    progress: Progress = ignore_progress
    deadline: float | None = None
    step_cache: dict[str, CompletedStep] = field(default_factory=dict)
    surveys: Surveys = field(default_factory=Surveys)
    as_given: ir.Model | None = None
    frozen_inputs: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """What is to be said of the model and the data, whatever is done."""
        return [*describe_frozen_inputs(self.frozen_inputs), *self.splits.warnings()]

    def without_caches(self) -> CompressionTask:
        """The same for who keeps it: what steps remember are models."""
        return replace(self, step_cache={}, surveys=Surveys())

    def make_runner(self, recipe: Recipe) -> Runner:
        """What carries out the steps of ``recipe``."""
        limit, tune = recipe.gates.max_drop, self.splits.tune or self.splits.fit

        def drop_over_limit(model: ir.Model) -> DropOverLimit:
            if tune is None or limit is None:
                return DropOverLimit(0.0, 0.0)
            metrics = self.estimate_metrics(model, tune)
            drops = bound_drop(metrics, limit), find_least_drop(metrics, limit)
            return DropOverLimit(*(drop / limit if limit else math.inf if drop > 0 else 0.0 for drop in drops))

        # layers go back to float by data that nothing was fitted on, or not at all
        tune_excess = drop_over_limit if limit is not None and self.splits.tune is not None else None
        context = StepContext(
            self.splits.fit, self.config, self.progress, original=self.original, seed=recipe.seed, surveys=self.surveys,
            tune_samples=self.splits.tune, drop_over_limit=tune_excess, deadline=self.deadline,
        )  # fmt: skip
        return Runner(context, lambda model: drop_over_limit(model).counted > 1, self.deadline, self.step_cache)

    def estimate_metrics(self, model: ir.Model, samples: Samples) -> list[MetricResult]:
        """The metric that gates on ``samples``, which choices are made on: of several the one that lost most; and those that
        guard it, what lost most first.
        """
        weight: LabelWeight = "alone" if self._labels_decide else "told"
        gating = self._evaluate({"result": model}, samples, weight, goes_on=False)["result"].gating
        worst = max((metric for metric in gating if not metric.guards), key=get_comparable_drop)
        counted = [metric for metric in gating if metric is worst or metric.guards]
        return sorted(counted, key=get_comparable_drop, reverse=True)

    def evaluate(self, models: dict[str, ir.Model], samples: Samples, *, goes_on: bool = True) -> dict[str, Evaluation]:
        """``models`` against the original on ``samples``, which a report is about; how they go on with texts by themselves
        is told unless not ``goes_on``.
        """
        some: LabelWeight = "joined" if count_labels(samples) >= MIN_TELLING_LABELS else "told"
        return self._evaluate(models, samples, "alone" if self._labels_decide else some, goes_on=goes_on)

    def _evaluate(
        self, models: dict[str, ir.Model], samples: Samples, weight: LabelWeight, *, goes_on: bool
    ) -> dict[str, Evaluation]:
        evaluations = evaluate_all(
            models, samples, reference=self.original, config=self.config, metric=self.judge.metric, kinds=self.judge.kinds,
            label_weight=weight, output=self.judge.output, batch_size=self.judge.batch_size, goes_on=goes_on,
            progress=self.progress,
        )  # fmt: skip
        # what its sessions leave of a large model are hundreds of MB in pieces, among which the next one's do not fit
        release_freed_memory()
        return evaluations

    @property
    def _labels_decide(self) -> bool:
        """Whether labels alone gate.

        Of scores of classes the original's own confidence predicts the drop, and varies less than a count of right answers.
        Many labels on every set that judges are counted and nothing else, because a network that is surer than it is right
        takes every answer that changed for a loss. Some gate beside it what is reported and choose nothing; where one answer
        is more than a point they are told.
        """
        return self.judge.metric is not None or bool(self.judge.labels_decide)


def prepare_task(
    model: model_file.ModelLike,
    command: str,
    *,
    data: Any = None,
    eval_data: Any = None,
    seed: int = 0,
    tune: float = 0.0,
    budget: float | None = None,
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: EvaluationOptions | None = None,
    runs: bool = True,
    keep_initializer_inputs: bool = False,
    progress: Progress = ignore_progress,
) -> CompressionTask:
    """Load the original and the data, and refuse what the runtime or the model would refuse later.

    Args are those of :func:`~onnxslim.pipeline.recipe_run.run_recipe`; ``tune`` is the share of the data that is held
    back to choose by, ``runs`` whether the original is going to be run as the runtime optimises it. Initializers that the
    original lists as inputs too are constants from here on, unless ``keep_initializer_inputs`` or data are fed to them.
    """
    deadline = None if budget is None else time.monotonic() + budget
    config, read = config or SessionConfig(), read or DataOptions()
    device = current_device()
    if device is not None:
        device.deadline = deadline
    original = model_file.load(model)
    check_loads(original, config)
    if runs:
        check_survives(original, config)
        if device is not None:  # what the runtime there lacks is told before any work
            open_timed_session(original, config)
    original_facts = compute_facts(original, model if isinstance(model, (str, os.PathLike)) else None, read.dims)
    splits = open_splits(original, data, eval_data, read, seed, config, tune=tune)
    kept = list_input_names(original) if keep_initializer_inputs else splits.input_names
    constant = model_file.clone(original)
    frozen_inputs = freeze_initializer_inputs(constant, kept)
    judge = settle_judging(constant, splits, judge or EvaluationOptions(), config, read)
    return CompressionTask(
        command, constant, original_facts, splits, config, read, judge, progress, deadline,
        as_given=original if frozen_inputs else None, frozen_inputs=tuple(frozen_inputs),
    )  # fmt: skip


def check_metric(task: CompressionTask, max_drop: float | None = None) -> None:
    """Refuse, before any work, an original that guesses, and a metric that fails or does not go with the data.

    What the *confirm* data cannot show of ``max_drop`` is logged as a warning.

    Raises:
        UsageError: The metric raised, or is not for such outputs.
        InvalidDataError: The labels are not of its kind, or the original does no better than chance. Asked of all
            samples when a few look like it.
    """
    samples = task.splits.confirm
    if samples is None:
        return
    if isinstance(task.judge.metric, str):
        check_measurable(task.judge.metric, has_labels=samples.labels is not None, has_original=True)
    first_samples = samples.take(np.arange(samples.round_to_runs(_CHECK_SAMPLES)))
    try:
        evaluation = task.evaluate({"original": task.original}, first_samples, goes_on=False)["original"]
    except (UsageError, InvalidDataError):
        evaluation = task.evaluate({"original": task.original}, samples, goes_on=False)["original"]
    if max_drop and (line := describe_resolution(evaluation.gating, len(samples), max_drop)) is not None:
        logger.warning("%s", line)
