"""``onnxslim sensitivity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.core.errors import UsageError
from onnxslim.core.workers import open_workers
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.reporting.sensitivity_plot import insert_plot
from onnxslim.reporting.text import clean, format_count, shorten
from onnxslim.tools.sensitivity_analysis import sensitivity as measure

from ..command import command
from ..console.tables import format_warnings, make_grid
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL

_LAYER_COLUMNS = ("layer", "op", ">parameters", ">MACs", ">SQNR of its output")
_CHANNEL_COLUMNS = ("made by", ">units", ">units gone: SQNR of the outputs")


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """The most sensitive layers first; all of them under ``--explain``."""
    findings, top = report["sensitivity"], None if explain else 20
    layers = (
        (
            shorten(clean(one["node"])),
            one["op"],
            format_count(one["params"]),
            format_count(one["macs"]),
            _format_db(one["sqnr_db"]),
        )
        for one in findings["int8"][:top]
    )
    channels = (
        (shorten(clean(one["node"])), str(one["units"]), ", ".join(map(_format_level, one["levels"])))
        for one in findings["channels"][:top]
    )
    return Group(
        make_grid(_LAYER_COLUMNS, layers, "In int8 alone, the most sensitive first"),
        make_grid(_CHANNEL_COLUMNS, channels, "Without some of its channels, the most sensitive first"),
        Text("against what the original computes; no labels were read", "dim"),
        *format_warnings(report),
    )


def _format_level(level: Mapping[str, Any]) -> str:
    return f"{level['gone']}: {_format_db(level['sqnr_db'])}"


def _format_db(value: float | None) -> str:
    return "no difference" if value is None else f"{value:.1f} dB"


@command("sensitivity", show=show, page=insert_plot)
@click.argument("model", metavar="IN", type=MODEL)
@shared_options.data
@click.option("--target", type=click.Choice(list(TARGETS)), default="cpu", help="Whose int8 rules apply (cpu).")
@shared_options.workers("Candidates tried")
def sensitivity(
    common: CommonOptions, model: str, data: str | None, target: str, backend: str | None, jobs: int | None
) -> Result:
    """What one layer alone in int8 does to its output, and without some of its channels to the model's."""
    if data is None:
        raise UsageError("no data given", hint=f"--data: {shared_options.DATA_HELP}")
    loaded = model_file.load(model)
    samples = common.open_samples(data, loaded)
    with open_workers(backend, jobs):
        findings = measure(
            loaded,
            samples,
            target=target,
            config=common.config,
            dims=common.dim,
            seed=common.seed,
            progress=common.progress,
        )
    result = Result("sensitivity", input=compute_facts(loaded, model, common.dim), extra=findings.as_json())
    result.data["fit"] = samples.as_json()
    result.warnings = [*samples.warnings, *findings.warnings]
    return result
