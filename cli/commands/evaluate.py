"""``onnxslim evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.core.errors import UsageError
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.reporting.evidence import describe_kinds
from onnxslim.reporting.terminal import render_terminal as summary
from onnxslim.reporting.text import clean
from onnxslim.validation.evaluation import evaluate as judge

from ..command import command
from ..console.tables import format_warnings, make_grid
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """Before and after where there is a reference; else the metrics of the one model."""
    if report["output"] is not None:
        return summary(report, explain=explain)
    rows = ((clean(m["name"]), _format_value(m), f"{m['n']} samples") for m in report["metrics"])
    kinds = (Text(line, "dim") for line in describe_kinds(report["judged"]["kinds"], explain=explain))
    return Group(
        Text(clean(report["input"]["path"]), "bold"), make_grid(("", "", ""), rows), *kinds, *format_warnings(report)
    )


def _format_value(metric: Mapping[str, Any]) -> str:
    value = metric["result"]
    return f"{100 * value:.2f} %" if metric["unit"] == "%" else f"{value:.4g}"


@command("evaluate", show=show, has_result=True)
@click.argument("model", metavar="MODEL", type=MODEL)
@click.argument("reference", metavar="[REFERENCE]", type=MODEL, required=False)
@shared_options.data
def evaluate(common: CommonOptions, model: str, reference: str | None, data: str | None) -> Result:
    """Judge MODEL on labelled data, or against REFERENCE, the original it came from."""
    if data is None:
        raise UsageError("no data given", hint=f"--data: {shared_options.DATA_HELP}")
    if common.model_card is not None and reference is None:
        raise UsageError("--model-card: no REFERENCE, which MODEL would be told against", hint="evaluate MODEL REFERENCE")
    loaded = model_file.load(model)
    original = model_file.load(reference) if reference is not None else None
    samples = common.open_samples(data, original or loaded)
    evaluation = judge(
        loaded,
        samples,
        reference=original,
        config=common.config,
        metric=common.evaluation_options.metric,
        output=common.output,
        batch_size=common.batch_size,
        progress=common.progress,
    )
    result = Result("evaluate", evaluation=evaluation, warnings=[*samples.warnings, *evaluation.warnings])
    model_facts = compute_facts(loaded, model, common.dim)
    if original is None:
        result.input = model_facts
    else:
        result.input, result.output = compute_facts(original, reference, common.dim), model_facts
    result.data["confirm"] = samples.as_json()
    return result
