"""``onnxslim benchmark``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.reporting import figures
from onnxslim.reporting.text import NO_VALUE, clean, format_digits, format_milliseconds, format_size
from onnxslim.tools.benchmarking import benchmark as measure

from ..command import command
from ..console.tables import format_warnings, make_grid
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """One column a model."""
    models, timing = report["models"], report["timing"]
    columns = ("", *(f">{clean(model['name'])}" for model in models))
    rows = [(name, *map(cell, models)) for name, cell in _TABLE_ROWS]
    table = make_grid(columns, [row for row in rows if set(row[1:]) != {NO_VALUE}])
    conditions = (
        f"{timing['rounds']} interleaved rounds, batch {timing['batch']}, {timing['threads']} thread(s), "
        f"{timing['provider']} provider, on {clean(timing['data'])}; 95 % intervals in brackets"
    )
    energy_text = figures.describe_energy(report)
    return Group(table, Text(conditions, "dim"), Text(f"energy: {energy_text}"), *format_warnings(report))


def _format_median(model: Mapping[str, Any]) -> str:
    steady = model["steady"]
    low, high = map(format_milliseconds, steady["interval_ms"])
    return f"{format_milliseconds(steady['median_ms'])} [{low}, {high}]"


def _format_ratio(model: Mapping[str, Any]) -> str:
    low, high = map(format_digits, model["interval"])
    return f"{format_digits(model['ratio'])} [{low}, {high}]"


def _format_throughput(model: Mapping[str, Any]) -> str:
    throughput = model["throughput"]
    interval = "" if throughput["interval"] is None else " [{:.0f}, {:.0f}]".format(*throughput["interval"])
    return f"{format_digits(throughput['per_second'])}/s{interval}, {throughput['concurrency']} at a time"


#: name of a row → its cell for one model of the JSON
_TABLE_ROWS: tuple[tuple[str, Any], ...] = (
    ("median", _format_median),
    ("p90", lambda m: format_milliseconds(m["steady"]["p90_ms"])),
    ("p99", lambda m: format_milliseconds(m["steady"]["p99_ms"])),
    ("times faster", _format_ratio),
    ("first inference", lambda m: format_milliseconds(m["first_ms"])),
    ("session", lambda m: format_milliseconds(m["create_ms"])),
    ("throughput", _format_throughput),
    ("resident memory", lambda m: format_size(m["resident_memory"])),
    ("peak memory", lambda m: format_size(m["memory"])),
    ("device memory", lambda m: format_size(m["device_memory"])),
)


@command("benchmark", show=show)
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@shared_options.data
@shared_options.on
def benchmark(common: CommonOptions, models: tuple[str, ...], data: str | None) -> Result:
    """Latency, throughput and memory of models, timed in turn on the same inputs.

    Without --data the inputs are random, and the outcome says so.
    """
    first = model_file.load(models[0])
    measured = measure(
        models,
        common.open_samples(data, first) if data is not None else None,
        config=common.config,
        batch_size=common.batch_size or 1,
        concurrency=common.concurrency,
        dims=common.dim,
        progress=common.progress,
    )
    first_facts = compute_facts(first, models[0], common.dim)
    return Result("benchmark", input=first_facts, extra=measured.as_json(), warnings=measured.warnings)
