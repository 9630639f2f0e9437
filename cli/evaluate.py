"""``onnxslim evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim import io
from onnxslim.errors import UsageError
from onnxslim.report.terminal import terminal as summary
from onnxslim.report.text import clean
from onnxslim.result import Result, facts
from onnxslim.validate.evaluate import evaluate as judge

from . import options
from .command import command
from .common import Common
from .params import MODEL
from .show import grid, warnings


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """Before and after where there is a reference; else the metrics of the one model."""
    if report["output"] is not None:
        return summary(report, explain=explain)
    rows = ((clean(m["name"]), _value(m), f"{m['n']} samples") for m in report["metrics"])
    return Group(Text(clean(report["input"]["path"]), "bold"), grid(("", "", ""), rows), *warnings(report))


def _value(metric: Mapping[str, Any]) -> str:
    value = metric["result"]
    return f"{100 * value:.2f} %" if metric["unit"] == "%" else f"{value:.4g}"


@command("evaluate", show=show)
@click.argument("model", metavar="MODEL", type=MODEL)
@click.argument("reference", metavar="[REFERENCE]", type=MODEL, required=False)
@options.data
def evaluate(common: Common, model: str, reference: str | None, data: str | None) -> Result:
    """Judge MODEL on labelled data, or against REFERENCE, the original it came from."""
    if data is None:
        raise UsageError("no data given", hint=f"--data: {options.DATA_HELP}")
    loaded = io.load(model)
    original = io.load(reference) if reference is not None else None
    samples = common.samples(data, original or loaded)
    found = judge(
        loaded,
        samples,
        reference=original,
        config=common.config,
        metric=common.judge.metric,
        output=common.output,
        batch_size=common.batch_size,
        progress=common.progress,
    )
    result = Result("evaluate", evaluation=found, warnings=[*samples.warnings, *found.warnings])
    about = facts(loaded, model, common.dim)
    if original is None:
        result.input = about
    else:
        result.input, result.output = facts(original, reference, common.dim), about
    result.data["confirm"] = samples.as_json()
    return result
