"""``onnxslim sensitivity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim import io
from onnxslim.errors import UsageError
from onnxslim.quantize.targets import TARGETS
from onnxslim.report.sensitivity import page
from onnxslim.report.text import clean, count, shorten
from onnxslim.result import Result, facts
from onnxslim.sensitivity import sensitivity as measure
from onnxslim.workers import open_workers

from . import options
from .command import command
from .common import Common
from .params import MODEL
from .show import grid, warnings

_LAYERS = ("layer", "op", ">parameters", ">MACs", ">SQNR of its output")
_CHANNELS = ("made by", ">units", ">units gone: SQNR of the outputs")


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """The most sensitive layers first; all of them under ``--explain``."""
    found, top = report["sensitivity"], None if explain else 20
    layers = (
        (
            shorten(clean(one["node"])),
            one["op"],
            count(one["params"]),
            count(one["macs"]),
            _db(one["sqnr_db"]),
        )
        for one in found["int8"][:top]
    )
    channels = (
        (shorten(clean(one["node"])), str(one["units"]), ", ".join(map(_level, one["levels"])))
        for one in found["channels"][:top]
    )
    return Group(
        grid(_LAYERS, layers, "In int8 alone, the most sensitive first"),
        grid(_CHANNELS, channels, "Without some of its channels, the most sensitive first"),
        Text("against what the original computes; no labels were read", "dim"),
        *warnings(report),
    )


def _level(level: Mapping[str, Any]) -> str:
    return f"{level['gone']}: {_db(level['sqnr_db'])}"


def _db(value: float | None) -> str:
    return "no difference" if value is None else f"{value:.1f} dB"


@command("sensitivity", show=show, page=page)
@click.argument("model", metavar="IN", type=MODEL)
@options.data
@click.option("--target", type=click.Choice(list(TARGETS)), default="cpu", help="Whose int8 rules apply (cpu).")
@options.workers("Candidates tried")
def sensitivity(
    common: Common, model: str, data: str | None, target: str, backend: str | None, jobs: int | None
) -> Result:
    """What one layer alone in int8 does to its output, and without some of its channels to the model's."""
    if data is None:
        raise UsageError("no data given", hint=f"--data: {options.DATA_HELP}")
    loaded = io.load(model)
    samples = common.samples(data, loaded)
    with open_workers(backend, jobs):
        found = measure(
            loaded,
            samples,
            target=target,
            config=common.config,
            dims=common.dim,
            seed=common.seed,
            progress=common.progress,
        )
    result = Result("sensitivity", input=facts(loaded, model, common.dim), extra=found.as_json())
    result.data["fit"] = samples.as_json()
    result.warnings = [*samples.warnings, *found.warnings]
    return result
