"""The main job: apply a recipe, judge the result on data nothing was fitted on, keep what passes the gates.

:func:`run` executes exactly one recipe. :func:`optimize` tries several, judges each on the *tune* share, and reads the
*confirm* data for the finalists only.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxslim import io
from onnxslim import recipe as recipes
from onnxslim.compatibility import oldest_runtime
from onnxslim.data.near import near_duplicates
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.data.split import check_disjoint, hold_back
from onnxslim.errors import GateError, OnnxslimError, UsageError
from onnxslim.progress import Progress, silent
from onnxslim.reading import DataOptions as DataOptions
from onnxslim.recipe import KINDS, Context, Recipe
from onnxslim.result import Result, Stage, facts
from onnxslim.runtime.memory import own_peak, peak
from onnxslim.runtime.session import Session, SessionConfig, check, trial, version
from onnxslim.runtime.timing import Timing, interleave
from onnxslim.validate import latency
from onnxslim.validate.evaluate import evaluate
from onnxslim.validate.function import UserMetric
from onnxslim.validate.gates import Gates, failures
from onnxslim.validate.ledger import Evaluation
from onnxslim.version import __version__

logger = logging.getLogger(__name__)

#: Shares held back for *confirm* when no second set is given, and for *tune* when there is something to choose.
CONFIRM_SHARE, TUNE_SHARE = 0.25, 0.2
#: How many finalists may be shown the confirm data; every one more is another chance to pass by luck.
FINALISTS = 3


@dataclass(frozen=True)
class Judge:
    """What is judged, and by what; see :func:`onnxslim.validate.evaluate.evaluate`."""

    metric: str | UserMetric | None = None
    output: str | None = None
    batch_size: int | None = None


@dataclass
class _Sets:
    """The three uses of data, which never share a sample."""

    fit: Samples | None = None
    tune: Samples | None = None
    confirm: Samples | None = None
    near: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {use: None if samples is None else samples.as_json() for use, samples in self._uses().items()}

    def warnings(self) -> list[str]:
        own = [line for samples in self._uses().values() if samples is not None for line in samples.warnings]
        return own if self.near is None else [*own, self.near]

    def _uses(self) -> dict[str, Samples | None]:
        return {"fit": self.fit, "tune": self.tune, "confirm": self.confirm}


def run(
    model: io.ModelLike,
    recipe: Recipe,
    *,
    start: io.ModelLike | None = None,
    data: Any = None,
    eval_data: Any = None,
    command: str = "optimize",
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: Judge | None = None,
    time_it: bool = True,
    progress: Progress = silent,
) -> Result:
    """Execute ``recipe`` and judge what comes out.

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
        time_it: Measure latency and peak memory.
        progress: Told how far it is.

    Raises:
        GateError: A gate of the recipe is not met; its ``result`` attribute holds everything that was measured.
        OnnxslimError: Whatever a step raises.
    """
    config, judge = config or SessionConfig(), judge or Judge()
    original, result = _start(model, command, config, read)
    sets = _sets(original, data, eval_data, read or DataOptions(), recipe.seed, config, tune=False)
    _apply(original, recipe, sets, result, config, progress, start=None if start is None else io.load(start))
    if time_it:
        _measure(original, result, sets, config, read, progress)
    return _finish(_confirm(original, result, sets, config, judge, progress), recipe)


def optimize(
    model: io.ModelLike,
    *,
    data: Any,
    eval_data: Any = None,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    max_drop: float | None = 0.01,
    min_speedup: float | None = None,
    max_size: int | None = None,
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
    asked: dict[str, Any] = {"max_drop": max_drop, "min_speedup": min_speedup, "max_size": max_size}
    if recipe is not None:
        chosen = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
        gates = dataclasses.replace(chosen.gates, **{k: v for k, v in asked.items() if v is not None})
        chosen = dataclasses.replace(recipes.placed(chosen, placement), gates=gates)
        return run(
            model, chosen, data=data, eval_data=eval_data, config=config, read=read, judge=judge, progress=progress
        )
    started = time.monotonic()
    config, judge, read = config or SessionConfig(), judge or Judge(), read or DataOptions()
    gates = Gates(**asked)
    original, first = _start(model, "optimize", config, read)
    sets = _sets(original, data, eval_data, read, seed, config, tune=True)
    tried: list[_Tried] = []
    for name, steps in recipes.candidates(placement).items():
        if tried and time.monotonic() - started > budget:
            first.warnings.append(f"the budget of {budget:g} s ended before candidate {name}")
            break
        candidate = Recipe(steps, gates, seed)
        tried.append(_try(name, original, candidate, sets, first, config, judge, read, progress))
        if placement == "static":
            tried[-1].score = _static_score(tried[-1].result)
    result = _best(original, tried, sets, config, judge, progress)
    result.warnings.extend(first.warnings)
    return result


@dataclass
class _Tried:
    """One candidate of the search: its result so far, what the tune share says, or why it failed."""

    name: str
    recipe: Recipe
    result: Result
    drop: float = 0.0
    score: float = 0.0
    error: OnnxslimError | None = None

    def as_json(self) -> dict[str, Any]:
        ratio = self.result.latency["ratio"] if self.result.latency else None
        size = self.result.output.bytes if self.result.output else None
        return {
            "name": self.name,
            "tune_drop": None if self.error else self.drop,
            "speedup": ratio,
            "bytes": size,
            "error": None if self.error is None else self.error.message,
        }


def _try(
    name: str,
    original: ir.Model,
    candidate: Recipe,
    sets: _Sets,
    base: Result,
    config: SessionConfig,
    judge: Judge,
    read: DataOptions,
    progress: Progress,
) -> _Tried:
    result = dataclasses.replace(base, steps=[], stages=list(base.stages), measured={}, extra={}, warnings=[])
    tried = _Tried(name, candidate, result)
    try:
        _apply(original, candidate, sets, result, config, progress)
        _measure(original, result, sets, config, read, progress)
    except OnnxslimError as error:
        logger.info("candidate %s: %s", name, error.message)
        tried.error = error
        return tried
    assert result.model is not None
    assert result.input is not None
    assert result.output is not None
    assert result.latency is not None
    if sets.tune is not None:
        tried.drop = _expected_drop(original, result.model, sets.tune, config, judge)
    tried.score = result.latency["ratio"] * result.input.bytes / result.output.bytes
    return tried


def _static_score(result: Result) -> float:
    """What no clock decides: how many times smaller, times how many times fewer multiplications."""
    if result.input is None or result.output is None:
        return 0.0
    return result.input.bytes / result.output.bytes * max(result.input.macs, 1) / max(result.output.macs, 1)


def _expected_drop(original: ir.Model, model: ir.Model, tune: Samples, config: SessionConfig, judge: Judge) -> float:
    """The drop on the tune share: by labels where there are any, else as the original's own confidence predicts it."""

    def drop(metric: str | UserMetric | None) -> float:
        found = evaluate(
            model, tune, reference=original, config=config, metric=metric, output=judge.output,
            batch_size=judge.batch_size,
        ).metric.drop
        return found if found is not None else float("inf")

    if judge.metric is not None or tune.labels is not None:
        return drop(judge.metric)
    try:
        return drop("confidence")
    except UsageError:  # the output is no score of classes: its own default metric needs no labels
        return drop(None)


def _best(
    original: ir.Model, tried: list[_Tried], sets: _Sets, config: SessionConfig, judge: Judge, progress: Progress
) -> Result:
    """The candidate with the best product of speed-up and size ratio that passes, on tune first and then on confirm."""
    alive = [t for t in tried if t.error is None]
    if not alive:
        error = tried[0].error
        assert error is not None
        raise error
    limit = alive[0].recipe.gates.max_drop
    ranked = sorted(alive, key=lambda t: (limit is not None and t.drop > limit, -t.score))
    rejected: list[str] = []
    for read, candidate in enumerate(ranked[:FINALISTS], start=1):
        result = _confirm(original, candidate.result, sets, config, judge, progress)
        result.extra["candidates"] = [t.as_json() for t in tried]
        result.extra["chosen"] = candidate.name
        if result.data["confirm"] is not None:
            result.data["confirm"]["read"] = read
        result.warnings.extend(rejected)
        try:
            return _finish(result, candidate.recipe)
        except GateError as error:
            rejected.append(f"candidate {candidate.name} did not pass: {error.message}")
            last = error
    raise last


def _start(
    model: io.ModelLike, command: str, config: SessionConfig, read: DataOptions | None
) -> tuple[ir.Model, Result]:
    original = io.load(model)
    check(original, config)
    path = model if isinstance(model, (str, os.PathLike)) else None
    given = facts(original, path, (read or DataOptions()).dims)
    stage = Stage("original", given.bytes, given.params, given.macs)
    return original, Result(command, input=given, stages=[stage])


def _sets(
    original: ir.Model, data: Any, eval_data: Any, read: DataOptions, seed: int, config: SessionConfig, *, tune: bool
) -> _Sets:
    if data is None and eval_data is None:
        return _Sets()
    sets = _Sets()
    if eval_data is not None:
        sets.confirm = read.open(eval_data, original, seed=seed, config=config)
    if data is not None:
        sets.fit = read.open(data, original, seed=seed, config=config)
        if sets.confirm is None and len(sets.fit) > 1:
            sets.fit, sets.confirm = hold_back(sets.fit, CONFIRM_SHARE, seed)
        elif sets.confirm is not None:
            check_disjoint(sets.fit, sets.confirm)
            sets.near = near_duplicates(sets.fit, sets.confirm)
        if tune and len(sets.fit) > 1:
            sets.fit, sets.tune = hold_back(sets.fit, TUNE_SHARE, seed + 1)
    return sets


def _apply(
    original: ir.Model,
    recipe: Recipe,
    sets: _Sets,
    result: Result,
    config: SessionConfig,
    progress: Progress,
    start: ir.Model | None = None,
) -> None:
    """Run the steps, and write the resolved recipe into the model that comes out."""
    context = Context(original, sets.fit, config, recipe.seed, progress)
    model, resolved = start or original, []
    models: list[ir.Model] = []
    for step in recipe.steps:
        model, account, options = KINDS[step.name].apply(model, step.options, context)
        resolved.append(dataclasses.replace(step, options=options))
        result.steps.append(account)
        models.append(model)
        if "layers" in account.details:
            result.extra["layers"] = account.details["layers"]
            result.measured["layers"] = (
                "each layer's output against the float model's on calibration samples, with everything before it quantised"
            )
        logger.info("%s: %s", step.name, account.changed)
    replay = dataclasses.replace(recipe, steps=tuple(resolved))
    result.recipe = replay.text()
    model = io.clone(model)
    model.metadata_props[recipes.KEY] = result.recipe
    model.metadata_props["onnxslim.version"] = __version__
    result.model, models[-1:] = model, [model]
    given = [facts(stage) for stage in models]
    result.output = given[-1]
    names = _unique([step.name for step in recipe.steps])
    result.stages += [Stage(name, f.bytes, f.params, f.macs) for name, f in zip(names, given, strict=True)]
    result.extra["stage_models"] = models
    result.data, result.warnings = sets.as_json(), [*result.warnings, *sets.warnings()]
    result.extra["oldest_runtime"] = oldest_runtime(model)


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return result


def _measure(
    original: ir.Model,
    result: Result,
    sets: _Sets,
    config: SessionConfig,
    read: DataOptions | None,
    progress: Progress,
) -> None:
    """Latency of every stage in one interleaved run, and peak memory of both ends."""
    samples = sets.confirm or sets.fit
    if samples is None:
        dims = (read or DataOptions()).dims
        samples = open_samples("random", original, max_samples=4, dims=dims, runs=trial(original, config))
    feeds = list(itertools.islice(samples.batches(1), 8))
    models = [original, *result.extra.pop("stage_models")]
    sessions = {str(index): Session(model, config) for index, model in enumerate(models)}
    timing = interleave(sessions, feeds, progress=progress)
    last = str(len(models) - 1)
    result.latency = latency.summarize(
        {"original": timing.rounds["0"], "result": timing.rounds[last]},
        provider=timing.provider,
        threads=timing.threads,
        batch=timing.batch,
    )
    result.stages = [
        dataclasses.replace(stage, median_ms=1e3 * timing.median(str(index)))
        for index, stage in enumerate(result.stages)
    ]
    memory = {name: peak(model, feeds[0], config) for name, model in (("original", original), ("result", models[-1]))}
    result.extra["memory"] = {**memory, "command": own_peak()}
    result.measured.update(_how(result, timing, samples))


def _how(result: Result, timing: Timing, samples: Samples) -> dict[str, str]:
    return {
        "latency": f"median of {len(timing.rounds['0'])} interleaved rounds, batch {timing.batch}, "
        f"{timing.threads} thread(s), {timing.provider} provider, onnxruntime {version()}, on {samples.source}; "
        "the ratio is the median of the per-round ratios",
        "size": "bytes on disk, external data included",
        "params": "elements of float and quantised weight initializers",
        "macs": "multiply-accumulates of Conv, Gemm and MatMul for one sample; free dimensions as given, "
        "else 1 (224 spatial)",
        "memory": "growth of the peak resident set of a fresh process that loads the model and runs it twice",
    }


def _confirm(
    original: ir.Model, result: Result, sets: _Sets, config: SessionConfig, judge: Judge, progress: Progress
) -> Result:
    result.extra.pop("stage_models", None)
    if sets.confirm is None:
        return result
    assert result.model is not None
    evaluation: Evaluation = evaluate(
        result.model,
        sets.confirm,
        reference=original,
        config=config,
        metric=judge.metric,
        output=judge.output,
        batch_size=judge.batch_size,
        progress=progress,
    )
    result.evaluation = evaluation
    result.warnings.extend(evaluation.warnings)
    metric = evaluation.metric
    result.measured[metric.name] = f"{metric.n} samples of {sets.confirm.source}, paired with the original's outputs"
    ends = {0: metric.original, len(result.stages) - 1: metric.result}
    result.stages = [dataclasses.replace(s, metric=ends.get(i)) for i, s in enumerate(result.stages)]
    return result


def _finish(result: Result, recipe: Recipe) -> Result:
    """``result`` when it passes the recipe's gates; a gate on the metric needs data to judge by."""
    assert result.input is not None
    assert result.output is not None
    sizes = {"original": result.input.bytes, "result": result.output.bytes}
    missed = failures(recipe.gates, result.evaluation, result.latency, sizes)
    if missed:
        error = GateError("; ".join(missed), hint="nothing was written; a report of what was measured may be beside it")
        error.result = result  # type: ignore[attr-defined]
        raise error
    return result
