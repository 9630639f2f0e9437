"""All that is asked of a candidate, in turn: what callers see of it, whether it loads, what it loses, how fast it is,
whether other processors answer alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError, LimitError, OnnxslimError, UnsupportedError
from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_samples
from onnxslim.graph.signature import freeze_initializer_inputs
from onnxslim.pipeline.attempt import MAX_TIMING_SECONDS, draw_latency_runs
from onnxslim.pipeline.result import Result, describe_measurements
from onnxslim.pipeline.task import CompressionTask, check_metric
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.load_check import check_survives
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.session_config import version
from onnxslim.runtime.timing import interleave
from onnxslim.validation import latency as latencies
from onnxslim.validation.evaluation_accumulator import Evaluation, get_comparable_drop
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.verification.check import Check, conclude
from onnxslim.verification.interface import check_interface, check_oldest_runtime, check_opset
from onnxslim.verification.outcome import Verification, check_speed
from onnxslim.verification.processors import check_processors
from onnxslim.verification.receipt import Receipt, Settings
from onnxslim.verification.sample_size import MAX_STAGES, MIN_PILOT, SamplePlan, judge_drop, judge_in_stages, plan_samples

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Known:
    """What is settled before a candidate is looked at.

    Attributes:
        is_same: It is the original, byte for byte.
        only_plan: Only how many samples it takes is asked.
        samples: So many are judged; None where that is to be found.
        is_timed: The times are known, as those of a receipt, or are not asked for: ``latency``.
        latency: The contract's; None where there are none.
    """

    is_same: bool = False
    only_plan: bool = False
    samples: int | None = None
    is_timed: bool = False
    latency: dict[str, Any] | None = None


@dataclass
class Examination:
    """What was found.

    Attributes:
        checks: Each thing that was asked.
        plan: How many samples are needed, given and used; None where nothing was run.
        plan_line: The same for people, where only that was asked.
    """

    checks: list[Check] = field(default_factory=list)
    plan: SamplePlan | None = None
    plan_line: str | None = None


def examine(
    task: CompressionTask, model: ir.Model, asked: Settings, known: Known, result: Result, *, announce: Announce
) -> Examination:
    """Ask of ``model`` what ``asked`` says, by the original and the *confirm* samples of ``task``.

    Args:
        task: Without samples nothing is run, and what was lost cannot be told.
        model: The candidate; weights that it lists as inputs too become constants.
        asked: The limits, and the seed that samples are drawn by.
        known: What need not be found out.
        result: Is given the figures.
        announce: Told how many samples are needed before they are run.

    Raises:
        InvalidDataError: The original guesses on these data, or the labels are not of its kind.
        UsageError: The metric is not for such outputs; ``asked.for_ort`` is no release.
    """
    samples = task.splits.confirm
    freeze_initializer_inputs(model, [] if samples is None else samples.input_names)
    found = Examination([
        check_interface(task.original, model), check_opset(task.original, model),
        check_oldest_runtime(task.original, model, asked.for_ort), _check_loads(model, task.config),
    ])  # fmt: skip
    if conclude(found.checks) != "pass":
        return found
    if samples is None:
        found.checks.append(_SAME if known.is_same else Check("drop", "cannot tell", "there are no data to judge on"))
        found.checks += check_speed(known.latency, asked.min_speedup)
        result.latency = known.latency
        return found
    check_metric(task)
    try:
        found.plan, evaluation = _evaluate(task, model, samples, asked, known, announce)
        if known.only_plan:
            found.plan_line = found.plan.describe(_format_limit(evaluation, asked.max_drop))
            return found
        result.evaluation = evaluation
        result.warnings += evaluation.warnings
        result.measured.update(_describe_judging(evaluation, samples))
        found.checks += _judge(evaluation, asked.max_drop, is_same=known.is_same)
        result.latency = known.latency if known.is_timed else _time(task, model, samples, result)
    except (InvalidModelError, UnsupportedError) as error:
        found.checks.append(Check("run", "fail", f"the candidate does not run: {error.message}"))
    else:
        found.checks += check_speed(result.latency, asked.min_speedup)
        found.checks += check_processors(model, samples, asked.cpus, task.config, seed=asked.seed, progress=task.progress)
    return found


def describe_examination(found: Examination, made: Receipt, inconclusive: Literal["fail", "pass"]) -> dict[str, Any]:
    """The keys ``receipt`` and ``verification`` of a document: ``made``, with how it ended."""
    verdict, used = conclude(found.checks), 0 if found.plan is None else found.plan.used
    return {
        "receipt": replace(made, verdict=verdict, samples_used=used).as_json(),
        "verification": Verification(verdict, found.checks, found.plan, inconclusive),
    }


_SAME = Check("drop", "pass", "the candidate is the original, byte for byte", 0.0, (0.0, 0.0))


def _check_loads(model: ir.Model, config: SessionConfig) -> Check:
    """Whether the installed runtime takes the candidate, as it took the original."""
    try:
        check_survives(model, config, name="the candidate")
        open_timed_session(model, config)
    except LimitError:
        raise
    except OnnxslimError as error:
        return Check("load", "fail", error.message)
    device = current_device()
    return Check("load", "pass", f"loads in onnxruntime {version()} {'here' if device is None else f'at {device.name}'}")


def _evaluate(
    task: CompressionTask, model: ir.Model, samples: Samples, asked: Settings, known: Known, announce: Announce
) -> tuple[SamplePlan, Evaluation]:
    """Judge as many samples as are needed; all of sequences, whose steps are not drawn one by one."""
    total, limit = len(samples), asked.max_drop

    def measure(size: int) -> Evaluation:
        drawn = samples
        if size < total:
            in_time = samples.sequences is not None
            drawn = samples.take(np.arange(size) if in_time else draw_samples(samples, size, asked.seed))
        return task.evaluate({"candidate": model}, drawn)["candidate"]

    def tell(plan: SamplePlan, pilot: Evaluation) -> None:
        if not known.only_plan:
            announce(plan.describe(_format_limit(pilot, limit)))

    if known.samples or known.is_same:
        size = known.samples or (total if samples.sequences is not None else min(total, MIN_PILOT))
        return SamplePlan(size, size, total, size), measure(size)
    if samples.sequences is not None:
        evaluation = measure(total)
        return plan_samples(_list_proven(evaluation), total, total, limit), evaluation
    return judge_in_stages(measure, _list_proven, total, limit, announce=tell, stages=1 if known.only_plan else MAX_STAGES)


def _list_proven(evaluation: Evaluation) -> list[MetricResult]:
    """The metrics whose interval decides: of a guard what was seen does."""
    return [metric for metric in evaluation.gating if not metric.guards]


def _judge(evaluation: Evaluation, limit: float, *, is_same: bool) -> list[Check]:
    """A check of every metric that gates; a file that is the original's loses nothing, however few samples show it."""
    if is_same:
        return [_SAME]
    several = len({metric.output for metric in evaluation.gating}) > 1
    return [judge_drop(metric, limit, names_output=several) for metric in evaluation.gating]


def _time(task: CompressionTask, model: ir.Model, samples: Samples, result: Result) -> dict[str, Any]:
    """The contract's ``latency`` of original and candidate, in interleaved rounds."""
    models = {"original": task.as_given or task.original, "result": model}
    sessions = {name: open_timed_session(one, task.config) for name, one in models.items()}
    runs, warnings = draw_latency_runs(samples, task.config)
    timing = interleave(sessions, runs, seconds=MAX_TIMING_SECONDS, progress=task.progress)
    batch = len(runs[0].indices)
    found = latencies.summarize(timing.rounds, provider=timing.provider, threads=timing.threads, batch=batch)
    result.measured.update(describe_measurements(timing, samples.source, batch))
    result.warnings += [*warnings, *latencies.list_cautions(found)]
    return found


def _describe_judging(evaluation: Evaluation, samples: Samples) -> dict[str, str]:
    how = f"{evaluation.metric.n} samples of {samples.source}, paired with the original's outputs"
    return {metric.name: how for metric in evaluation.gating}


def _format_limit(evaluation: Evaluation, limit: float) -> str:
    """The drop that the number of samples is for: of a guard, which may lose more, none is asked."""
    metric = max(_list_proven(evaluation), key=get_comparable_drop)
    return metric.format_value(metric.get_own_limit(limit))
