"""``onnxslim inspect``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxslim.data.states.pairs import describe_pairs
from onnxslim.model_folders.folder_report import describe_layout
from onnxslim.model_folders.model_folder import open_model_folder
from onnxslim.pipeline.result import Result
from onnxslim.reporting.text import NO_VALUE, clean, format_count, format_size
from onnxslim.tools.hints import Hint
from onnxslim.tools.inspection import Port
from onnxslim.tools.inspection import inspect as look

from ..command import command
from ..console.tables import make_grid
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL_OR_FOLDER


def compare_models(models: Sequence[Mapping[str, Any]]) -> Table:
    """Models of the JSON's ``models`` as columns: format, inputs, outputs, ops and sizes, one row each.

    What is less than in the first model is green.
    """
    table = make_grid(("", *(f">{clean(model['name'])}" for model in models)), ())
    for rows in (_list_versions, _list_ports, _list_ops, _list_sizes):
        for name, cells in rows(models):
            table.add_row(Text(clean(name)), *cells)
        table.add_section()
    return table


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """The models side by side, and what pruning could reach in each."""
    lines = [Text(f"hint: {clean(line)}") for model in report["models"] for line in _list_hints(model, report["models"])]
    folders = [Text(line) for folder in report.get("folders", ()) for line in _list_folder(folder)]
    tables = (table for m in report["models"] if m["channels"] is not None for table in _build_channel_tables(m, explain))
    return Group(*folders, compare_models(report["models"]), *lines, *tables)


def _list_folder(folder: Mapping[str, Any]) -> Iterator[str]:
    """The layout, and what each file is for."""
    yield f"{clean(folder['path'])}: {folder['layout']}"
    for entry in folder["models"]:
        variant = f", another precision of {clean(entry['variant_of'])}" if entry["variant_of"] else ""
        yield f"  {clean(entry['path'])}: {clean(entry['role'])}{variant}"
    inputs = ", ".join(map(clean, folder["input_configs"]))
    yield f"  inputs are made as {inputs} say" if inputs else "  nothing in it says how inputs are made"


def _list_hints(model: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What forms in ``model`` cost, and which states it has; by its name where there are several models."""
    start = f"{model['name']}: " if len(models) > 1 else ""
    for hint in model["hints"]:
        yield f"{start}{Hint(**hint)}"
    if model["states"]:
        yield f"{start}--state auto would feed back {describe_pairs(model['states'])}"


def _list_versions(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    domains = dict.fromkeys(domain for model in models for domain in model["opsets"])
    for domain in domains:
        yield f"opset {domain}", [Text(str(model["opsets"].get(domain, NO_VALUE))) for model in models]
    yield "IR version", [Text(str(model["ir_version"])) for model in models]
    yield "oldest onnxruntime", [Text(model["oldest_runtime"]) for model in models]
    yield "written by", [Text(clean(model["producer"]) or NO_VALUE) for model in models]
    if any(model["quantised"] for model in models):
        yield "quantised", [Text(clean((model["quantised"] or "no").split(" ")[0])) for model in models]


def _list_ports(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    for kind in ("inputs", "outputs"):
        by_name = [{port["name"]: port for port in model[kind]} for model in models]
        for name in dict.fromkeys(name for ports in by_name for name in ports):
            cells = [str(Port(**ports[name])) if name in ports else NO_VALUE for ports in by_name]
            yield f"{kind[:-1]} {name}", [Text(clean(cell)) for cell in cells]


def _list_ops(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    for op in sorted({op for model in models for op in model["ops"]}):
        yield op, _mark_smaller([model["ops"].get(op, 0) for model in models], str)
    yield "nodes", _mark_smaller([model["nodes"] for model in models], str)


def _list_sizes(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    for name, key, formatter in (
        ("size", "bytes", format_size),
        ("parameters", "params", format_count),
        ("MACs", "macs", format_count),
    ):
        yield name, _mark_smaller([model["facts"][key] for model in models], formatter)


def _mark_smaller(numbers: Sequence[int], formatter: Any) -> list[Text]:
    return [Text(formatter(number), "green" if number < numbers[0] else "") for number in numbers]


def _build_channel_tables(model: Mapping[str, Any], explain: bool) -> Iterator[Table]:
    """What lives together and what it would save, whole blocks, what is pinned, and every layer."""
    channels, name = model["channels"], clean(model["name"])
    top = None if explain else 20
    timed = any(group["seconds_half"] is not None for group in channels["groups"])
    title = f"{name}: {channels['units']} units, {channels['reach']:.1%} of the inner channels can be pruned"
    groups = sorted(channels["groups"], key=lambda group: -int(group["macs"]))
    yield make_grid(
        ("made by", "read by", ">units", ">parameters each", ">MACs each", *((">half saves",) if timed else ())),
        (
            (
                _format_names(group["made_by"]),
                _format_names(group["read_by"]),
                str(group["units"]),
                format_count(group["params_each"]),
                format_count(group["macs_each"]),
                *((_format_time(group["seconds_half"]),) if timed else ()),
            )
            for group in groups[:top]
        ),
        f"{title}\nWhat lives together, {_describe_top(len(groups), top, 'most MACs first')}",
    )
    if channels["blocks"]:
        yield make_grid(
            ("block that ends in", ">nodes", ">parameters", ">MACs", *((">takes",) if timed else ())),
            (
                (
                    clean(block["exit"]),
                    str(len(block["nodes"])),
                    format_count(block["params"]),
                    format_count(block["macs"]),
                    *((_format_time(block["seconds"]),) if timed else ()),
                )
                for block in channels["blocks"][:top]
            ),
            f"What can be left out whole, {_describe_top(len(channels['blocks']), top, 'in the order of the graph')}",
        )
    if channels["pinned"]:
        yield make_grid(
            (">channels", "pinned by", "why"),
            ((str(pin["channels"]), clean(pin["node"]), clean(pin["reason"])) for pin in channels["pinned"][:top]),
            "What has to stay",
        )
    yield make_grid(
        ("layer", "op", ">channels", ">free", "why not"),
        (
            (clean(one["name"]), clean(one["op"]), str(one["channels"]), str(one["free"]), clean(one["reason"]))
            for one in channels["layers"]
        ),
        "Layers",
    )


def _describe_top(number: int, top: int | None, order: str) -> str:
    return order if top is None or number <= top else f"{top} of {number}, {order} (--explain shows all)"


def _format_names(names: Sequence[str]) -> str:
    """The first of ``names`` and how many more there are."""
    if not names:
        return NO_VALUE
    return clean(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _format_time(seconds: float | None) -> str:
    return NO_VALUE if seconds is None else f"{1e6 * seconds:.0f} µs"


@command("inspect", show=show)
@click.argument("models", metavar="MODEL...", type=MODEL_OR_FOLDER, nargs=-1, required=True)
@click.option("--channels", is_flag=True, help="Say which channels could be pruned, and why the others could not.")
@click.option("--time", "timed", is_flag=True, help="And measure what half of each group of them would save.")
def inspect(common: CommonOptions, models: tuple[str, ...], channels: bool, timed: bool) -> Result:
    """Op counts, sizes, inputs and outputs; several models, or those of a folder, side by side."""
    folders = {path: open_model_folder(path) for path in models if os.path.isdir(path)}
    names: dict[str, str | None] = {}
    for path in models:
        names |= {folders[path].find(m): m.path for m in folders[path].members} if path in folders else {path: None}
    inspections = []
    for path, name in names.items():
        found = look(path, dims=common.dim, channels=channels, time=timed, config=common.config)
        inspections.append(found if name is None else dataclasses.replace(found, name=name))
    extra: dict[str, Any] = {"models": [model.as_json() for model in inspections]}
    if folders:
        extra["folders"] = [describe_layout(folder) for folder in folders.values()]
    return Result("inspect", input=inspections[0].facts, extra=extra)
