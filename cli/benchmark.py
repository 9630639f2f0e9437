"""``onnxslim benchmark``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim import io
from onnxslim.benchmark import benchmark as measure
from onnxslim.report import figures
from onnxslim.report.text import NONE, clean, digits, milliseconds, size
from onnxslim.result import Result, facts

from . import options
from .command import command
from .common import Common
from .params import MODEL
from .show import grid, warnings


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """One column a model."""
    models, timing = report["models"], report["timing"]
    columns = ("", *(f">{clean(model['name'])}" for model in models))
    rows = [(name, *map(cell, models)) for name, cell in _ROWS]
    table = grid(columns, [row for row in rows if set(row[1:]) != {NONE}])
    how = (
        f"{timing['rounds']} interleaved rounds, batch {timing['batch']}, {timing['threads']} thread(s), "
        f"{timing['provider']} provider, on {clean(timing['data'])}; 95 % intervals in brackets"
    )
    told = figures.energy(report)
    return Group(table, Text(how, "dim"), Text(f"energy: {told}"), *warnings(report))


def _median(model: Mapping[str, Any]) -> str:
    steady = model["steady"]
    low, high = map(milliseconds, steady["interval_ms"])
    return f"{milliseconds(steady['median_ms'])} [{low}, {high}]"


def _ratio(model: Mapping[str, Any]) -> str:
    low, high = map(digits, model["interval"])
    return f"{digits(model['ratio'])} [{low}, {high}]"


def _throughput(model: Mapping[str, Any]) -> str:
    found = model["throughput"]
    ends = "" if found["interval"] is None else " [{:.0f}, {:.0f}]".format(*found["interval"])
    return f"{digits(found['per_second'])}/s{ends}, {found['concurrency']} at a time"


#: name of a row → its cell for one model of the JSON
_ROWS: tuple[tuple[str, Any], ...] = (
    ("median", _median),
    ("p90", lambda m: milliseconds(m["steady"]["p90_ms"])),
    ("p99", lambda m: milliseconds(m["steady"]["p99_ms"])),
    ("times faster", _ratio),
    ("first inference", lambda m: milliseconds(m["first_ms"])),
    ("session", lambda m: milliseconds(m["create_ms"])),
    ("throughput", _throughput),
    ("resident memory", lambda m: size(m["resident_memory"])),
    ("peak memory", lambda m: size(m["memory"])),
    ("device memory", lambda m: size(m["device_memory"])),
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
