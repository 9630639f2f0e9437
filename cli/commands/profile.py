"""``onnxslim profile``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table

from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.reporting.text import NO_VALUE, clean, format_milliseconds, shorten
from onnxslim.tools.profiling import compare_layers
from onnxslim.tools.profiling import profile as measure

from ..command import command
from ..console.tables import format_place, format_warnings, make_grid
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """Ops side by side, then the slowest layers; all of them under ``--explain``."""
    top = None if explain else 15
    models = report["models"]
    layers = [_list_layers(models[0], top)] if len(models) == 1 else [_compare_layers(report["layers"], models, top)]
    return Group(_compare_ops(models), *layers, *format_place(report), *format_warnings(report))


def _compare_layers(layers: list[Mapping[str, Any]], models: list[Mapping[str, Any]], top: int | None) -> Table:
    rows = ((shorten(clean(one["name"])), *map(_format_time, one["ms"]), _format_speedup(one["ms"])) for one in layers[:top])
    columns = ("layer", *(f">{clean(model['name'])}" for model in models), ">times faster")
    return make_grid(columns, rows, "The slowest layers of the first model, and what became of them")


def _format_time(value: float | None) -> str:
    return NO_VALUE if value is None else format_milliseconds(value)


def _format_speedup(values: list[float | None]) -> str:
    first, last = values[0], values[-1]
    return NO_VALUE if not first or not last else f"{first / last:.2f}"


def _compare_ops(models: list[Mapping[str, Any]]) -> Table:
    by_op = [{entry["op"]: entry for entry in model["ops"]} for model in models]
    ops = dict.fromkeys(op for entries in by_op for op in entries)
    rows = [(clean(op), *(_format_cell(entries.get(op)) for entries in by_op)) for op in ops]
    total = ("all nodes", *(format_milliseconds(model["total_ms"]) for model in models))
    return make_grid(("op", *(f">{clean(model['name'])}" for model in models)), [*rows, total])


def _format_cell(entry: Mapping[str, Any] | None) -> str:
    return NO_VALUE if entry is None else f"{entry['count']} in {format_milliseconds(entry['ms'])}, {entry['share']:4.0%}"


def _list_layers(model: Mapping[str, Any], top: int | None) -> Table:
    rows = (
        (
            shorten(clean(node["name"])),
            clean(node["op"]),
            node["provider"].removesuffix("ExecutionProvider").lower(),
            format_milliseconds(node["ms"]),
            f"{node['share']:.0%}",
        )
        for node in model["nodes"][:top]
    )
    return make_grid(("layer", "ran as", "on", ">time", ">share"), rows, f"{clean(model['name'])}: the slowest layers")


@command("profile", show=show)
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@shared_options.data
@shared_options.on
def profile(common: CommonOptions, models: tuple[str, ...], data: str | None) -> Result:
    """Which layers take the time, as the runtime really runs them; several models side by side."""
    profiles = []
    for path in models:
        samples = common.open_samples(data, model_file.load(path)) if data is not None else None
        profiles.append(measure(path, samples, config=common.config, batch_size=common.batch_size or 1, dims=common.dim))
    warnings = list(dict.fromkeys(line for one in profiles for line in one.warnings))
    first_facts = compute_facts(model_file.load(models[0]), models[0], common.dim)
    layers = [
        {"name": layer.name, "ms": [None if s is None else 1e3 * s for s in layer.seconds]}
        for layer in compare_layers(profiles, models[0])
    ]
    extra = {"models": [one.as_json() for one in profiles], "layers": layers}
    return Result("profile", input=first_facts, extra=extra, warnings=warnings)
