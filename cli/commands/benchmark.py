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
from onnxslim.runtime.devices.machine_figures import count_cores
from onnxslim.runtime.energy.energy_counter import NOT_MEASURABLE
from onnxslim.tools.benchmarking import Benchmark
from onnxslim.tools.benchmarking import benchmark_settings as measure

from ..command import command
from ..console.tables import format_place, format_warnings, make_grid
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL, CountsType


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
    settings = [_show_settings(report)] if "settings" in report else []
    stand_in = "; processor time stands for it" if any(_find_processor_ms(m) for m in models) else ""
    energy = Text(f"energy: {energy_text}{stand_in if report['energy']['source'] == NOT_MEASURABLE else ''}")
    return Group(table, Text(conditions, "dim"), *settings, *format_place(report), energy, *format_warnings(report))


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


def _find_processor_ms(model: Mapping[str, Any]) -> float | None:
    found: float | None = model["throughput"]["processor_ms"]
    return found


def _format_processor_time(model: Mapping[str, Any]) -> str:
    found = _find_processor_ms(model)
    return NO_VALUE if found is None else f"{format_milliseconds(found)} a sample"


#: name of a row → its cell for one model of the JSON
_TABLE_ROWS: tuple[tuple[str, Any], ...] = (
    ("median", _format_median),
    ("p90", lambda m: format_milliseconds(m["steady"]["p90_ms"])),
    ("p99", lambda m: format_milliseconds(m["steady"]["p99_ms"])),
    ("times faster", _format_ratio),
    ("first inference", lambda m: format_milliseconds(m["first_ms"])),
    ("session", lambda m: format_milliseconds(m["create_ms"])),
    ("throughput", _format_throughput),
    ("processor time", _format_processor_time),
    ("resident memory", lambda m: format_size(m["resident_memory"])),
    ("peak memory", lambda m: format_size(m["memory"])),
    ("device memory", lambda m: format_size(m["device_memory"])),
)


def _show_settings(report: Mapping[str, Any]) -> RenderableType:
    """A row for each number of threads and batch size, a column a model."""
    settings = report["settings"]
    rows = ((str(s["threads"]), str(s["batch"]), *map(_show_setting, s["models"])) for s in settings)
    columns = (">threads", ">batch", *(f">{clean(model['name'])}" for model in report["models"]))
    cells = ["median of an inference", "times faster", "samples a second"]
    if any(model["millijoules"] is not None for model in settings[0]["models"]):
        cells.append("millijoules of a sample")
    elif any(model["processor_ms"] is not None for model in settings[0]["models"]):
        cells.append("processor time of a sample")
    return make_grid(columns, rows, ", ".join(cells))


def _show_setting(model: Mapping[str, Any]) -> str:
    cells = [
        format_milliseconds(model["median_ms"]),
        f"{_format_ratio(model)}×",
        f"{format_digits(model['per_second'])}/s",
    ]
    if model["millijoules"] is not None:
        cells.append(f"{format_digits(model['millijoules'])} mJ")
    elif model["processor_ms"] is not None:
        cells.append(f"{format_milliseconds(model['processor_ms'])} of the processor")
    return ", ".join(cells)


def _find_millijoules(found: Benchmark, name: str) -> float | None:
    """Of one sample; None where nothing counts them."""
    counted = found.energy.get(name)
    return None if counted is None else float(counted["millijoules"]) / found.batch


def _describe_setting(found: Benchmark) -> dict[str, Any]:
    models = [
        {
            "name": model.name,
            "median_ms": model.steady["median_ms"],
            "interval_ms": model.steady["interval_ms"],
            "ratio": model.ratio,
            "interval": model.interval,
            "per_second": model.throughput["per_second"],
            "processor_ms": model.throughput["processor_ms"],
            "millijoules": _find_millijoules(found, model.name),
        }
        for model in found.models
    ]
    return {"threads": found.timing.threads, "batch": found.batch, "models": models}


@command("benchmark", show=show)
@click.argument("models", metavar="MODEL...", type=MODEL, nargs=-1, required=True)
@shared_options.data
@click.option("--threads", "thread_counts", type=CountsType(word="all", several=True), default=(1,), metavar="N,…",
              help="Threads of one inference (1); several are timed one after another: 1,all.")  # fmt: skip
@click.option("--batch-size", "batch_sizes", type=CountsType(several=True), default=(1,), metavar="N,…",
              help="Samples in one inference (1), where the model leaves that free; or several: 1,8.")  # fmt: skip
@shared_options.on
def benchmark(
    common: CommonOptions,
    *,
    models: tuple[str, ...],
    data: str | None,
    thread_counts: tuple[int, ...],
    batch_sizes: tuple[int, ...],
) -> Result:
    """Latency, throughput and memory of models, timed in turn on the same inputs.

    Without --data the inputs are random, and the outcome says so. Of several settings the first is told whole, and all
    in one table: what int8 gains changes with the threads and the batch. Where nothing counts joules, processor time
    stands for them.
    """
    first = model_file.load(models[0])
    settings = measure(
        models,
        common.open_samples(data, first) if data is not None else None,
        threads=tuple(dict.fromkeys(count or count_cores() for count in thread_counts)),
        batch_sizes=batch_sizes,
        config=common.config,
        concurrency=common.concurrency,
        dims=common.dim,
        progress=common.progress,
    )
    extra = settings[0].as_json()
    if len(settings) > 1:
        extra["settings"] = [_describe_setting(one) for one in settings]
    warnings = list(dict.fromkeys(line for one in settings for line in one.warnings))
    return Result("benchmark", input=compute_facts(first, models[0], common.dim), extra=extra, warnings=warnings)
