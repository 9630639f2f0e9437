"""``onnxslim benchmark``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxslim import io
from onnxslim.benchmark import benchmark as measure
from onnxslim.report.text import clean, digits, milliseconds, size
from onnxslim.result import Result, facts

from . import options
from .command import command
from .common import Common
from .params import MODEL


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """One column a model."""
    models, timing = report["models"], report["timing"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for model in models:
        table.add_column(Text(clean(model["name"])), justify="right", overflow="fold")
    for name, cell in _ROWS:
        table.add_row(name, *(Text(cell(model)) for model in models))
    how = (
        f"{timing['rounds']} interleaved rounds, batch {timing['batch']}, {timing['threads']} thread(s), "
        f"{timing['provider']} provider, on {clean(timing['data'])}; 95 % intervals in brackets"
    )
    return Group(table, Text(how, "dim"), *_warnings(report))


def _warnings(report: Mapping[str, Any]) -> Iterator[Text]:
    for line in report["warnings"]:
        yield Text.assemble(("warning: ", "bold yellow"), clean(line))


def _between(interval: Any, unit: str = "") -> str:
    return f"[{digits(interval[0])}{unit}, {digits(interval[1])}{unit}]"


def _throughput(model: Mapping[str, Any]) -> str:
    found = model["throughput"]
    interval = f" {_between(found['interval'])}" if found["interval"] else ""
    return f"{digits(found['per_second'])}/s{interval} × {found['concurrency']}"


#: name of a row → its cell for one model of the JSON
_ROWS: tuple[tuple[str, Any], ...] = (
    ("median", lambda m: f"{milliseconds(m['steady']['median_ms'])} {_between(m['steady']['interval_ms'])}"),
    ("p90", lambda m: milliseconds(m["steady"]["p90_ms"])),
    ("p99", lambda m: milliseconds(m["steady"]["p99_ms"])),
    ("times faster", lambda m: f"{digits(m['ratio'])} {_between(m['interval'])}"),
    ("first inference", lambda m: milliseconds(m["first_ms"])),
    ("session", lambda m: milliseconds(m["create_ms"])),
    ("throughput × at a time", _throughput),
    ("peak memory", lambda m: size(m["memory"])),
)


@command("benchmark", show=show)
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@options.data
def benchmark(common: Common, models: tuple[str, ...], data: str | None) -> Result:
    """Latency, throughput and memory of models, timed in turn on the same inputs.

    Without --data the inputs are random, and the outcome says so.
    """
    first = io.load(models[0])
    found = measure(
        models,
        common.samples(data, first) if data is not None else None,
        config=common.config,
        batch_size=common.batch_size or 1,
        concurrency=common.concurrency,
        dims=common.dim,
        progress=common.progress,
    )
    about = facts(first, models[0], common.dim)
    return Result("benchmark", input=about, extra=found.as_json(), warnings=found.warnings)
