"""The original as the result: where nothing is gained, OUT is IN, byte for byte."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.core.errors import GateError
from onnxslim.graph.runtime_versions import check_loads_in, oldest_runtime
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.result import Result, Stage
from onnxslim.pipeline.task import CompressionTask
from onnxslim.validation import latency
from onnxslim.validation.gates import find_gate_failures

#: How the line begins that says so.
NOTHING_GAINED = "nothing gained: OUT is the original"


def keep_original(
    task: CompressionTask, recipe: Recipe, reason: str, *, timed: Mapping[str, Any] | None = None, judge: bool = True
) -> Result:
    """The result that is the original, where it meets the gates on size and time that were set.

    Args:
        task: What it is about.
        recipe: The gates and the seed; its steps were of no use.
        reason: Why, in one line for people.
        timed: A ``latency`` of the contract that has the original's times; None where nothing was timed.
        judge: Judge the original by itself on the *confirm* data, which tells what its metric is.

    Raises:
        GateError: A gate on size or time asks for more than the original; its ``result`` attribute is the result.
        UnsupportedError: The original does not load in the release that a gate names.
    """
    facts = task.original_facts
    stage = Stage("original", facts.bytes, facts.params, facts.macs)
    result = Result(
        task.command, model=model_file.clone(task.as_given or task.original), input=facts, output=facts, stages=[stage],
        data=task.splits.as_json(), recipe=dataclasses.replace(recipe, steps=(), search=None).to_yaml(),
        warnings=task.splits.warnings(), original=task.original, config=task.config, task=task.without_caches(),
        is_original=True,
    )  # fmt: skip
    result.extra |= {"summary": f"{NOTHING_GAINED}; {reason}", "oldest_runtime": oldest_runtime(task.original)}
    if timed is not None:
        result.latency = _repeat_original(timed)
        result.stages = [dataclasses.replace(stage, median_ms=result.latency["original"]["median_ms"])]
    if judge and task.splits.confirm is not None:
        result.evaluation = task.evaluate({"result": task.original}, task.splits.confirm)["result"]
        metric = result.evaluation.metric.original
        result.stages = [dataclasses.replace(entry, metric=metric) for entry in result.stages]
    if recipe.gates.for_ort is not None:
        check_loads_in(task.original, recipe.gates.for_ort)
    # the original is as right as the original
    gates = dataclasses.replace(recipe.gates, max_drop=None, min_agreement=None, min_sqnr=None)
    missed = find_gate_failures(gates, None, result.latency, {"original": facts.bytes, "result": facts.bytes})
    if missed:
        error = GateError("; ".join(missed), hint="nothing was written; a report of what was measured may be beside it")
        error.result = result  # type: ignore[attr-defined]
        raise error
    return result


def _repeat_original(timed: Mapping[str, Any]) -> dict[str, Any]:
    """``timed`` with the original in both places, of prompts too."""
    rounds = np.asarray(timed["rounds"]["original"]) / 1000
    place = {key: timed[key] for key in ("provider", "threads", "batch")}
    found = latency.summarize({"original": rounds, "result": rounds}, **place)
    found |= {"of": timed["of"]} if "of" in timed else {}
    return found | ({"prompt": _repeat_original(timed["prompt"])} if timed.get("prompt") else {})
