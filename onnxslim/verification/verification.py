"""Verify: is a candidate still right by its original? One verdict, with every figure and its interval, and a receipt."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.quantities import parse_drop
from onnxslim.data.readers import random_data
from onnxslim.graph.runtime_versions import oldest_runtime
from onnxslim.graph.signature import freeze_initializer_inputs
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.pipeline.judging import EvaluationOptions, settle_judging
from onnxslim.pipeline.recipe import METADATA_KEY
from onnxslim.pipeline.result import Result, compute_digest, compute_facts
from onnxslim.pipeline.task import CompressionTask, prepare_task
from onnxslim.runtime.session import SessionConfig
from onnxslim.verification.check import conclude
from onnxslim.verification.examination import Announce, Known, describe_examination, examine
from onnxslim.verification.outcome import Verification, describe_verdict, raise_unless_passed
from onnxslim.verification.processors import parse_processors
from onnxslim.verification.receipt import ModelRecord, Settings, make_receipt
from onnxslim.verification.receipt_file import ReceiptFile

logger = logging.getLogger(__name__)


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
        data: The samples; without any (None) what was lost cannot be told.
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
        UsageError: Made-up data, which prove nothing; an unknown processor.
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
    model = model_file.load(candidate)
    path, against_path = _get_path(candidate), _get_path(against)
    asked = Settings.of(
        config, read, judge, max_drop=limit, min_speedup=min_speedup, for_ort=for_ort, cpus=cpus, seed=seed
    )  # fmt: skip
    made = make_receipt(
        task, ModelRecord.of(model, path), ModelRecord.of(model_file.load(against), against_path), asked,
        recipe=model.metadata_props.get(METADATA_KEY),
    )  # fmt: skip
    if receipt is not None:
        receipt.check_same(made)
    result = Result(
        "verify", input=task.original_facts, output=compute_facts(model, path, read.dims), data=task.splits.as_json(),
        recipe=made.recipe, warnings=task.warnings(), extra={"oldest_runtime": oldest_runtime(model)},
    )  # fmt: skip
    known = Known(made.candidate.has_same_content(made.original), only_plan)
    if receipt is not None:
        known = replace(known, samples=receipt.receipt.samples_used, is_timed=True, latency=receipt.latency)
    found = examine(task, model, asked, known, result, announce=announce)
    if only_plan and found.plan is not None:
        result.recipe = f"{found.plan_line}\n"
        result.extra["verification"] = Verification(None, found.checks, found.plan, inconclusive)
        return result
    if receipt is not None:
        found.checks.append(receipt.check_verdict(conclude(found.checks)))
        result.warnings += receipt.list_differences(made)
    result.extra |= describe_examination(found, made, inconclusive)
    result.extra["summary"] = describe_verdict(found.checks)
    raise_unless_passed(found.checks, found.plan, result, inconclusive)
    return result


def certify(
    result: Result, path: str | os.PathLike[str], *, recorded_as: str | None = None, progress: Progress = ignore_progress
) -> None:
    """Verify the file at ``path``, which ``result`` is written as, and put the ``receipt`` into ``result``.

    What is judged is the file, as :func:`verify` judges it: on the *confirm* samples of the run, by the limits of its gates
    where it has any, and with the times that it measured. ``verify`` repeats it from the receipt alone.

    Args:
        result: Of :func:`~onnxslim.pipeline.recipe_run.run_recipe` or a search.
        path: The file.
        recorded_as: Where it will be found, if not there.
        progress: Told how far it is.

    Raises:
        UsageError: ``result`` is of a command that makes no model.
        InvalidModelError: The original has been written anew since, as where the result took its place.
    """
    task = result.task
    if task is None or result.recipe is None:
        raise UsageError(f"{result.command} makes no model that a receipt could be of")
    original_path, expected = task.original_facts.path, task.original_facts.sha256
    if original_path is not None and compute_digest(original_path) != expected:
        raise InvalidModelError(f"{original_path}: not the file any more that the result was made of")
    recipe, model = recipes.parse(result.recipe), model_file.load(path)
    judging = _make_judging_task(task, progress)
    gates = recipe.gates
    limits = {} if gates.max_drop is None else {"max_drop": gates.max_drop}
    asked = Settings.of(
        task.config, judging.read, judging.judge, min_speedup=gates.min_speedup, for_ort=gates.for_ort, seed=recipe.seed,
        **limits,
    )  # fmt: skip
    made = make_receipt(
        judging, ModelRecord.at(os.fspath(path), recorded_as),
        ModelRecord.of(task.as_given or task.original, original_path), asked,
        recipe=model.metadata_props.get(METADATA_KEY),
    )  # fmt: skip
    judged = task.splits.confirm
    known = Known(
        made.candidate.has_same_content(made.original), samples=None if judged is None else len(judged), is_timed=True,
        latency=result.latency,
    )  # fmt: skip
    found = examine(judging, model, asked, known, Result("verify"), announce=logger.debug)
    result.extra |= describe_examination(found, made, "fail")


def _make_judging_task(task: CompressionTask, progress: Progress) -> CompressionTask:
    """``task`` as :func:`verify` would prepare it with what its *confirm* samples come from."""
    origin = task.splits.origin
    if origin is not None and random_data.accepts(origin.source):
        origin = None  # made-up samples prove nothing
    samples = None if origin is None else origin.samples
    original = model_file.clone(task.as_given or task.original)
    freeze_initializer_inputs(original, [] if samples is None else samples.input_names)
    splits = DataSplits(confirm=samples, origin=origin)
    read = replace(task.read, part=None if origin is None else origin.part)
    judge = replace(task.judge, kinds=None, labels_decide=None)
    return replace(
        task, command="verify", original=original, splits=splits, read=read, progress=progress, deadline=None,
        judge=settle_judging(original, splits, judge, task.config, read),
    )  # fmt: skip


def _get_path(model: model_file.ModelLike) -> str | None:
    """Where ``model`` lies, if it is a file."""
    return os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
