"""``onnxslim inspect``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxslim.inspect import Port
from onnxslim.inspect import inspect as look
from onnxslim.report.text import NONE, clean, count, size
from onnxslim.result import Result

from .command import command
from .common import Common
from .params import MODEL
from .show import grid


def side_by_side(models: Sequence[Mapping[str, Any]]) -> Table:
    """Models of the JSON's ``models`` as columns: format, inputs, outputs, ops and sizes, one row each.

    What is less than in the first model is green.
    """
    table = grid(("", *(f">{clean(model['name'])}" for model in models)), ())
    for rows in (_format, _ports, _ops, _figures):
        for name, cells in rows(models):
            table.add_row(Text(clean(name)), *cells)
        table.add_section()
    return table


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """The models side by side, and what pruning could reach in each."""
    tables = (table for m in report["models"] if m["channels"] is not None for table in _channels(m, explain))
    return Group(side_by_side(report["models"]), *tables)


def _format(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    domains = dict.fromkeys(domain for model in models for domain in model["opsets"])
    for domain in domains:
        yield f"opset {domain}", [Text(str(model["opsets"].get(domain, NONE))) for model in models]
    yield "IR version", [Text(str(model["ir_version"])) for model in models]
    yield "oldest onnxruntime", [Text(model["oldest_runtime"]) for model in models]
    yield "written by", [Text(clean(model["producer"]) or NONE) for model in models]
    if any(model["quantised"] for model in models):
        yield "quantised", [Text(clean((model["quantised"] or "no").split(" ")[0])) for model in models]


def _ports(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    for kind in ("inputs", "outputs"):
        by_name = [{port["name"]: port for port in model[kind]} for model in models]
        for name in dict.fromkeys(name for ports in by_name for name in ports):
            cells = [str(Port(**ports[name])) if name in ports else NONE for ports in by_name]
            yield f"{kind[:-1]} {name}", [Text(clean(cell)) for cell in cells]


def _ops(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    for op in sorted({op for model in models for op in model["ops"]}):
        yield op, _fewer([model["ops"].get(op, 0) for model in models], str)
    yield "nodes", _fewer([model["nodes"] for model in models], str)


def _figures(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Text]]]:
    for name, key, form in (
        ("size", "bytes", size),
        ("parameters", "params", count),
        ("MACs", "macs", count),
    ):
        yield name, _fewer([model["facts"][key] for model in models], form)


def _fewer(numbers: Sequence[int], form: Any) -> list[Text]:
    return [Text(form(number), "green" if number < numbers[0] else "") for number in numbers]


def _channels(model: Mapping[str, Any], explain: bool) -> Iterator[Table]:
    """What lives together and what it would save, whole blocks, what is pinned, and every layer."""
    found, name = model["channels"], clean(model["name"])
    top = None if explain else 20
    timed = any(group["seconds_half"] is not None for group in found["groups"])
    title = f"{name}: {found['units']} units, {found['reach']:.1%} of the inner channels can be pruned"
    groups = sorted(found["groups"], key=lambda group: -int(group["macs"]))
    yield grid(
        ("made by", "read by", ">units", ">parameters each", ">MACs each", *((">half saves",) if timed else ())),
        (
            (
                _names(group["made_by"]),
                _names(group["read_by"]),
                str(group["units"]),
                count(group["params_each"]),
                count(group["macs_each"]),
                *((_time(group["seconds_half"]),) if timed else ()),
            )
            for group in groups[:top]
        ),
        f"{title}\nWhat lives together, {_of(len(groups), top, 'most MACs first')}",
    )
    if found["blocks"]:
        yield grid(
            ("block that ends in", ">nodes", ">parameters", ">MACs", *((">takes",) if timed else ())),
            (
                (
                    clean(block["exit"]),
                    str(len(block["nodes"])),
                    count(block["params"]),
                    count(block["macs"]),
                    *((_time(block["seconds"]),) if timed else ()),
                )
                for block in found["blocks"][:top]
            ),
            f"What can be left out whole, {_of(len(found['blocks']), top, 'in the order of the graph')}",
        )
    if found["pinned"]:
        yield grid(
            (">channels", "pinned by", "why"),
            ((str(pin["channels"]), clean(pin["node"]), clean(pin["reason"])) for pin in found["pinned"][:top]),
            "What has to stay",
        )
    yield grid(
        ("layer", "op", ">channels", ">free", "why not"),
        (
            (clean(one["name"]), clean(one["op"]), str(one["channels"]), str(one["free"]), clean(one["reason"]))
            for one in found["layers"]
        ),
        "Layers",
    )


def _of(number: int, top: int | None, order: str) -> str:
    return order if top is None or number <= top else f"{top} of {number}, {order} (--explain shows all)"


def _names(names: Sequence[str]) -> str:
    """The first of ``names`` and how many more there are."""
    if not names:
        return NONE
    return clean(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _time(seconds: float | None) -> str:
    return NONE if seconds is None else f"{1e6 * seconds:.0f} µs"


@command("inspect", show=show)
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@click.option("--channels", is_flag=True, help="Say which channels could be pruned, and why the others could not.")
@click.option("--time", "timed", is_flag=True, help="And measure what half of each group of them would save.")
def inspect(common: Common, models: tuple[str, ...], channels: bool, timed: bool) -> Result:
    """Op counts, sizes, inputs and outputs; several models side by side."""
    found = [look(model, dims=common.dim, channels=channels, time=timed, config=common.config) for model in models]
    return Result("inspect", input=found[0].facts, extra={"models": [model.as_json() for model in found]})
