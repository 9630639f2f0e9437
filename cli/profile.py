"""``onnxslim profile``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table

from onnxslim import io
from onnxslim.profile import profile as measure
from onnxslim.profile import side_by_side
from onnxslim.report.text import NONE, clean, milliseconds, shorten
from onnxslim.result import Result, facts

from . import options
from .command import command
from .common import Common
from .params import MODEL
from .show import grid, warnings


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """Ops side by side, then the slowest layers; all of them under ``--explain``."""
    top = None if explain else 15
    models = report["models"]
    layers = [_layers(models[0], top)] if len(models) == 1 else [_side_by_side(report["layers"], models, top)]
    return Group(_ops(models), *layers, *warnings(report))


def _side_by_side(layers: list[Mapping[str, Any]], models: list[Mapping[str, Any]], top: int | None) -> Table:
    rows = ((shorten(clean(one["name"])), *map(_time, one["ms"]), _times(one["ms"])) for one in layers[:top])
    columns = ("layer", *(f">{clean(model['name'])}" for model in models), ">times faster")
    return grid(columns, rows, "The slowest layers of the first model, and what became of them")


def _time(value: float | None) -> str:
    return NONE if value is None else milliseconds(value)


def _times(values: list[float | None]) -> str:
    first, last = values[0], values[-1]
    return NONE if not first or not last else f"{first / last:.2f}"


def _ops(models: list[Mapping[str, Any]]) -> Table:
    by_op = [{entry["op"]: entry for entry in model["ops"]} for model in models]
    ops = dict.fromkeys(op for entries in by_op for op in entries)
    rows = [(clean(op), *(_cell(entries.get(op)) for entries in by_op)) for op in ops]
    total = ("all nodes", *(milliseconds(model["total_ms"]) for model in models))
    return grid(("op", *(f">{clean(model['name'])}" for model in models)), [*rows, total])


def _cell(entry: Mapping[str, Any] | None) -> str:
    return NONE if entry is None else f"{entry['count']} in {milliseconds(entry['ms'])}, {entry['share']:4.0%}"


def _layers(model: Mapping[str, Any], top: int | None) -> Table:
    rows = (
        (
            shorten(clean(node["name"])),
            clean(node["op"]),
            node["provider"].removesuffix("ExecutionProvider").lower(),
            milliseconds(node["ms"]),
            f"{node['share']:.0%}",
        )
        for node in model["nodes"][:top]
    )
    return grid(("layer", "ran as", "on", ">time", ">share"), rows, f"{clean(model['name'])}: the slowest layers")


@command("profile", show=show)
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@options.data
def profile(common: Common, models: tuple[str, ...], data: str | None) -> Result:
    """Which layers take the time, as the runtime really runs them; several models side by side."""
    found = []
    for path in models:
        samples = common.samples(data, io.load(path)) if data is not None else None
        found.append(measure(path, samples, config=common.config, batch_size=common.batch_size or 1, dims=common.dim))
    warnings = list(dict.fromkeys(line for one in found for line in one.warnings))
    about = facts(io.load(models[0]), models[0], common.dim)
    layers = [
        {"name": layer.name, "ms": [None if s is None else 1e3 * s for s in layer.seconds]}
        for layer in side_by_side(found, models[0])
    ]
    extra = {"models": [one.as_json() for one in found], "layers": layers}
    return Result("profile", input=about, extra=extra, warnings=warnings)
