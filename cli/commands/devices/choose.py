"""``onnxslim choose``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.pipeline.result import Result
from onnxslim.reporting.text import NO_VALUE, clean, format_digits, format_milliseconds, format_size
from onnxslim.runtime.devices.choose import ChoiceError
from onnxslim.runtime.devices.choose import choose as choose_model

from ...command import command
from ...console.tables import format_warnings, make_grid
from ...options.common_options import CommonOptions


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """A row a model, and the choice."""
    table = make_grid(("model", ">median", ">times faster", ">size", ""), map(_format_row, report["models"]))
    return Group(table, Text(f"fastest here: {clean(report['chosen'])}", "bold"), *format_warnings(report))


def _format_row(model: Mapping[str, Any]) -> tuple[str, ...]:
    timed = model["median_ms"] is not None
    return (
        clean(model["name"]),
        format_milliseconds(model["median_ms"]) if timed else NO_VALUE,
        format_digits(model["ratio"]) if timed else NO_VALUE,
        format_size(model["bytes"]),
        clean(f"left out: {model['why_not']}" if model["why_not"] else model["promise"]),
    )


@command("choose", show=show)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--data", metavar="F.npz", help="Inputs by name, whose first samples are run; made up without.")
def choose(common: CommonOptions, *, folder: str, data: str | None) -> Result:
    """Time the models of DIR on this machine; name the fastest that keeps what its receipt promises.

    Receipts are what `onnxslim verify MODEL --against ORIGINAL --data D -o MODEL.json` wrote, beside the models. The file
    onnxslim/runtime/devices/choose.py does the same alone: copy it there, `python choose.py DIR`.
    """
    if not common.config.is_cpu:
        raise UsageError(f"--provider {common.provider}: choose times on the CPU provider", hint="benchmark times on others")
    try:
        report = choose_model(folder, data=data, dims=common.dim, threads=common.threads, batch_size=common.batch_size or 1)
    except ChoiceError as error:
        raise (UsageError if error.exit_code == UsageError.exit_code else UnsupportedError)(
            str(error), hint=error.hint
        ) from None
    chosen = next(model for model in report["models"] if model["name"] == report["chosen"])
    return Result("choose", extra=report, warnings=list(chosen["cautions"]))
