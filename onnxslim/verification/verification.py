"""Verify: is a candidate still right by its original? One verdict, with every figure and its interval, and a receipt."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import onnx_ir as ir

from onnxslim.core.errors import (
    GateError,
    InconclusiveError,
    InvalidModelError,
    LimitError,
    OnnxslimError,
    UnsupportedError,
    UsageError,
)
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.quantities import parse_drop
from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_samples
from onnxslim.graph.runtime_versions import oldest_runtime
from onnxslim.graph.signature import freeze_initializer_inputs
from onnxslim.model_io import model_file
from onnxslim.pipeline.attempt import MAX_TIMING_SECONDS, draw_timed_feeds
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.recipe import METADATA_KEY
from onnxslim.pipeline.result import Result, compute_facts, describe_measurements
from onnxslim.pipeline.task import CompressionTask, check_metric, prepare_task
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.load_check import check_survives
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.session_config import version
from onnxslim.runtime.timing import interleave
from onnxslim.validation import latency as latencies
from onnxslim.validation.evaluation_accumulator import Evaluation
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.verification.check import Check, conclude
from onnxslim.verification.interface import check_interface, check_oldest_runtime, check_opset
from onnxslim.verification.outcome import Verification, check_speed, describe_verdict, make_error
from onnxslim.verification.processors import check_processors, parse_processors
from onnxslim.verification.receipt import (
    SCHEMA,
    DataRecord,
    ModelRecord,
    Receipt,
    ReceiptFile,
    Settings,
    describe_machine,
)
from onnxslim.verification.sample_size import MAX_STAGES, MIN_PILOT, SamplePlan, judge_drop, judge_in_stages, plan_samples

logger = logging.getLogger(__name__)

Announce = Callable[[str], None]


def verify(
    candidate: model_file.ModelLike,
    *,
    against: model_file.ModelLike,
    data: Any,
    max_drop: float | str = 0.01,
    min_speedup: float | None = None,
    for_ort: str | None = None,
    cpus: Sequence[str] = (),
    inconclusive: Literal["fail", "pass"] = "fail",
    seed: int = 0,
    config: SessionConfig | None = None,
    read: DataOptions | None = None,
    judge: EvaluationOptions | None = None,
    receipt: ReceiptFile | None = None,
    only_plan: bool = False,
    announce: Announce = logger.info,
    progress: Progress = ignore_progress,
) -> Result:
    """Judge ``candidate`` by ``against``, its original, on ``data``, which neither was made of.

    Interface, opset and oldest runtime are compared; the drop of every metric that gates must lie below ``max_drop`` with
    its whole 95 % interval to pass, and above with all of it to fail. How many samples that takes is found on a pilot
    (:mod:`onnxslim.verification.sample_size`), and no more are run.

    Args:
        candidate: What is judged.
        against: What it is held against.
        data: The samples.
        max_drop: The drop that is allowed, as ``--max-drop``.
        min_speedup: How many times faster the candidate must be, with its whole interval, or None.
        for_ort: The onnxruntime release that has to load it.
        cpus: Processors on which it has to answer as it does here: keys of
            :data:`~onnxslim.runtime.emulation.processor_table.PROCESSORS`, run under emulation where this machine is none.
        inconclusive: Whether data that cannot decide count as a failure.
        seed: Of the samples that are drawn.
        config: Where both run.
        read: How data are read.
        judge: What is judged, and by what.
        receipt: A receipt to repeat: the same files, data and samples, and the times that were measured then.
        only_plan: Find how many samples are needed, and stop.
        announce: Told how many samples are needed before they are run.
        progress: Told how far it is.

    Returns:
        The evidence; ``extra["verification"]`` has the verdict, its checks and the samples.

    Raises:
        UsageError: No data, or made-up ones, which prove nothing; an unknown processor.
        GateError: The verdict is ``fail``; ``result`` of the error holds the evidence.
        InconclusiveError: It is ``cannot tell``, and that counts as a failure; likewise.
        InvalidModelError: A model is broken, or not the receipt's.
        InvalidDataError: The data do not fit, or are not the receipt's.
    """
    limit = parse_drop(max_drop)
    config, read, judge = config or SessionConfig(), read or DataOptions(), judge or EvaluationOptions()
    read, cpus = replace(read, allow_random=False), parse_processors(cpus, config)
    task = prepare_task(
        against, "verify", eval_data=data, seed=seed, config=config, read=read, judge=judge, progress=progress
    )
    samples = task.splits.confirm
    if samples is None:
        raise UsageError("no data given", hint="verify judges on samples that neither model was made of")
    model = model_file.load(candidate)
    path, recipe = _get_path(candidate), model.metadata_props.get(METADATA_KEY)
    made = Receipt(
        schema=SCHEMA, verdict="cannot tell", candidate=ModelRecord.of(model, path),
        original=ModelRecord.of(model_file.load(against), _get_path(against)), data=DataRecord.of(samples, data),
        settings=Settings.of(
            config, read, judge, max_drop=limit, min_speedup=min_speedup, for_ort=for_ort, cpus=cpus, seed=seed
        ), samples_used=0, recipe=recipe, machine=describe_machine(),
    )  # fmt: skip
    if receipt is not None:
        receipt.check_same(made)
    result = Result(
        "verify", input=task.original_facts, output=compute_facts(model, path, read.dims), data=task.splits.as_json(),
        recipe=recipe, warnings=task.warnings(), extra={"oldest_runtime": oldest_runtime(model)},
    )  # fmt: skip
    freeze_initializer_inputs(model, samples.input_names)
    checks = [
        check_interface(task.original, model), check_opset(task.original, model),
        check_oldest_runtime(task.original, model, for_ort), _check_loads(model, config),
    ]  # fmt: skip
    plan: SamplePlan | None = None
    if conclude(checks) == "pass":
        check_metric(task)
        sampling = _Sampling(
            seed, is_same=made.candidate.has_same_content(made.original), only_plan=only_plan,
            used=None if receipt is None else receipt.receipt.samples_used,
        )  # fmt: skip
        try:
            plan, evaluation = _evaluate(task, model, samples, limit, sampling, announce)
            if only_plan:
                result.recipe = plan.describe(_format_limit(evaluation, limit)) + "\n"
                result.extra["verification"] = Verification(None, checks, plan, inconclusive)
                return result
            result.evaluation = evaluation
            result.warnings += evaluation.warnings
            result.measured.update(_describe_judging(evaluation, samples))
            checks += _judge(evaluation, limit, is_same=sampling.is_same)
            result.latency = receipt.latency if receipt is not None else _time(task, model, samples, result)
        except (InvalidModelError, UnsupportedError) as error:
            checks.append(Check("run", "fail", f"the candidate does not run: {error.message}"))
        else:
            checks += check_speed(result.latency, min_speedup)
            answers, cautions = check_processors(model, samples, cpus, config, seed=seed, progress=progress)
            checks, result.warnings = checks + answers, result.warnings + cautions
    if receipt is not None:
        checks.append(receipt.check_verdict(conclude(checks)))
        result.warnings += receipt.list_differences(made)
    verdict = conclude(checks)
    made = replace(made, verdict=verdict, samples_used=0 if plan is None else plan.used)
    result.extra |= {
        "receipt": made.as_json(),
        "verification": Verification(verdict, checks, plan, inconclusive),
        "summary": describe_verdict(checks),
    }
    if verdict == "fail":
        raise make_error(GateError, checks, plan, result)
    if verdict == "cannot tell" and inconclusive == "fail":
        raise make_error(InconclusiveError, checks, plan, result)
    return result


@dataclass(frozen=True)
class _Sampling:
    """Which samples are judged: drawn by ``seed``, so many as they need, or as a receipt ``used``."""

    seed: int
    is_same: bool
    only_plan: bool
    used: int | None


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
    task: CompressionTask, model: ir.Model, samples: Samples, limit: float, sampling: _Sampling, announce: Announce
) -> tuple[SamplePlan, Evaluation]:
    """Judge as many samples as are needed; all of sequences, whose steps are not drawn one by one."""
    total = len(samples)

    def measure(size: int) -> Evaluation:
        drawn = samples if size >= total else samples.take(draw_samples(samples, size, sampling.seed))
        return task.evaluate({"candidate": model}, drawn)["candidate"]

    def tell(plan: SamplePlan, pilot: Evaluation) -> None:
        if not sampling.only_plan:
            announce(plan.describe(_format_limit(pilot, limit)))

    if sampling.used or sampling.is_same:
        size = sampling.used or (total if samples.sequences is not None else min(total, MIN_PILOT))
        return SamplePlan(size, size, total, size), measure(size)
    if samples.sequences is not None:
        evaluation = measure(total)
        return plan_samples(_list_proven(evaluation), total, total, limit), evaluation
    return judge_in_stages(
        measure, _list_proven, total, limit, announce=tell, stages=1 if sampling.only_plan else MAX_STAGES
    )


def _list_proven(evaluation: Evaluation) -> list[MetricResult]:
    """The metrics whose interval decides: of a guard what was seen does."""
    return [metric for metric in evaluation.gating if not metric.guards]


def _judge(evaluation: Evaluation, limit: float, *, is_same: bool) -> list[Check]:
    """A check of every metric that gates; a file that is the original's loses nothing, however few samples show it."""
    if is_same:
        return [Check("drop", "pass", "the candidate is the original, byte for byte", 0.0, (0.0, 0.0))]
    several = len({metric.output for metric in evaluation.gating}) > 1
    return [judge_drop(metric, limit, names_output=several) for metric in evaluation.gating]


def _time(task: CompressionTask, model: ir.Model, samples: Samples, result: Result) -> dict[str, Any]:
    """The contract's ``latency`` of original and candidate, in interleaved rounds."""
    models = {"original": task.as_given or task.original, "result": model}
    sessions = {name: open_timed_session(one, task.config) for name, one in models.items()}
    timing = interleave(sessions, draw_timed_feeds(samples), seconds=MAX_TIMING_SECONDS, progress=task.progress)
    found = latencies.summarize(timing.rounds, provider=timing.provider, threads=timing.threads, batch=timing.batch)
    result.measured.update(describe_measurements(timing, samples.source))
    result.warnings += latencies.list_cautions(found)
    return found


def _describe_judging(evaluation: Evaluation, samples: Samples) -> dict[str, str]:
    how = f"{evaluation.metric.n} samples of {samples.source}, paired with the original's outputs"
    return {metric.name: how for metric in evaluation.gating}


def _format_limit(evaluation: Evaluation, limit: float) -> str:
    return evaluation.metric.format_value(evaluation.metric.get_own_limit(limit))


def _get_path(model: model_file.ModelLike) -> str | None:
    """Where ``model`` lies, if it is a file."""
    return os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
