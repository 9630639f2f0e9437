"""The rows that every form of the report shows: one figure, before and after, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from onnxslim.reporting import text
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.table import METRICS

Report = Mapping[str, Any]
Verdict = Literal["better", "worse", ""]


@dataclass(frozen=True)
class FigureRow:
    """One figure of both models.

    Attributes:
        key: The figure's key in :data:`MEASUREMENT_NOTES`.
        name: As people call it.
        original: Of the original, formatted.
        result: Of the result.
        change: What became of it, e.g. ``3.9× smaller``.
        interval: The 95 % interval of the change, or empty.
        verdict: Whether the change is for the better; empty when it is neither, or cannot be told from none.
        how: How it was measured.
    """

    key: str
    name: str
    original: str
    result: str
    change: str = ""
    interval: str = ""
    verdict: Verdict = ""
    how: str = ""


#: figure, what people call it, its field of the models' entries, and how it is written
_SIZES: tuple[tuple[str, str, str, Callable[[float | None], str]], ...] = (
    ("size", "Size", "bytes", text.format_size),
    ("params", "Parameters", "params", text.format_count),
    ("macs", "MACs", "macs", text.format_count),
)

#: What whole texts tell of a decoder (:mod:`onnxslim.validation.sequences.texts`).
_TEXT_METRICS = {"perplexity": "Perplexity", "continuations": "Continuations kept"}
#: States of more than so many outputs are told by the worst.
_MAX_STATES = 2


def list_rows(report: Report) -> list[FigureRow]:
    """Every figure that ``report`` holds, in the order of the report."""
    builders = (_shrinkage_rows, _download_rows, _latency_rows, _memory_rows, _metric_rows, _output_rows)
    figure_rows = [row for build_rows in builders for row in build_rows(report)]
    return [replace(row, how=row.how or describe_measurement(report, row.key)) for row in figure_rows]


def describe_measurement(report: Report, key: str) -> str:
    """How the figure ``key`` was measured."""
    given = (report.get("measured") or {}).get(key)
    return text.clean(given) if given else MEASUREMENT_NOTES[key](report)


def _shrinkage_rows(report: Report) -> list[FigureRow]:
    rows = []
    for key, name, field, formatter in _SIZES:
        before, after = (report.get("input") or {}).get(field), (report.get("output") or {}).get(field)
        if before is not None:
            change, verdict = _describe_shrinkage(before, after)
            rows.append(FigureRow(key, name, formatter(before), formatter(after), change, verdict=verdict))
    return rows


def _describe_shrinkage(before: float, after: float | None) -> tuple[str, Verdict]:
    if not after or not before:
        return "", ""
    change = text.format_ratio(before / after, "smaller", "larger")
    return change, "" if change == "unchanged" else "better" if after < before else "worse"


def _latency_rows(report: Report) -> list[FigureRow]:
    latency = report.get("latency")
    if not latency or not latency.get("original") or not latency.get("result"):
        return []
    ratio, interval = latency.get("ratio"), latency.get("interval")
    change = text.format_ratio(ratio, "faster", "slower") if ratio else ""
    verdict: Verdict = ""
    if ratio and (interval is None or not interval[0] <= 1 <= interval[1]):
        verdict = "better" if ratio > 1 else "worse"
    interval_text = f"{interval[0]:.2f}× to {interval[1]:.2f}×" if interval else ""
    medians = [text.format_milliseconds(latency[side].get("median_ms")) for side in ("original", "result")]
    name, batch = latency.get("of"), latency.get("batch", 1)
    title = (f"Latency of a {name}" if name else "Latency") + ("" if batch == 1 else f", batch {batch}")
    row = FigureRow("latency", title, medians[0], medians[1], change, interval_text, verdict)
    return [row, *_latency_rows({"latency": latency.get("prompt")})]


def _download_rows(report: Report) -> list[FigureRow]:
    download = report.get("download")
    if not download:
        return []
    change, verdict = _describe_shrinkage(download["original"], download["result"])
    before, after = text.format_size(download["original"]), text.format_size(download["result"])
    return [FigureRow("download", "Download", before, after, change, verdict=verdict)]


def _memory_rows(report: Report) -> list[FigureRow]:
    memory = report.get("memory")
    if not memory or memory.get("original") is None:
        return []
    change, verdict = _describe_shrinkage(memory["original"], memory.get("result"))
    before, after = text.format_size(memory["original"]), text.format_size(memory.get("result"))
    return [FigureRow("memory", "Peak memory", before, after, change, verdict=verdict)]


def metric_name(name: str) -> str:
    """What people call the metric ``name``: a function's author chose the name."""
    metric = METRICS.get(name) or DATASET_METRICS.get(name)
    return metric.display_name if metric is not None else _TEXT_METRICS.get(name) or text.clean(name)


def format_metric(value: float | None, unit: str) -> str:
    """``value`` as a percentage where the metric is a share, else with four digits."""
    if value is None:
        return text.NO_VALUE
    return f"{100 * value:.2f} %" if unit == "%" else text.format_digits(value, 4)


def _metric_rows(report: Report) -> list[FigureRow]:
    """The metrics, and the first where it was also taken on data the steps were fitted on: what it flatters by there."""
    metrics = report.get("metrics") or []
    names = [metric["name"] for metric in metrics]
    known = [one for one in report.get("fit_metrics") or [] if any(_are_alike(one, metric) for metric in metrics[:1])]
    how = "the same on samples of the fit data; it says nothing about other data"
    fit_rows = [_metric_row(report, metric) for metric in known[:1]]
    fit_rows = [replace(row, name=f"{row.name}, fit data", verdict="", how=how) for row in fit_rows]
    rows = [_metric_row(report, metric) for metric in metrics]
    for index, metric in enumerate(metrics):
        if names.count(metric["name"]) > 1 and metric.get("output"):
            rows[index] = replace(
                rows[index], name=f"{rows[index].name} of {text.shorten(text.clean(metric['output']), 40)}"
            )
    return rows + fit_rows


def _are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two metrics are the same of the same output."""
    return bool(one["name"] == other["name"] and one.get("output") == other.get("output"))


def _metric_row(report: Report, metric: Mapping[str, Any]) -> FigureRow:
    unit, drop, interval = metric.get("unit", "%"), metric.get("drop"), metric.get("interval")
    name = metric_name(metric["name"])
    before, after = (format_metric(metric.get(side), unit) for side in ("original", "result"))
    if metric["name"] in (report.get("measured") or {}):
        note = describe_measurement(report, metric["name"])
    else:
        confirm = (report.get("data") or {}).get("confirm")
        confirm = describe_data(confirm["source"] if isinstance(confirm, Mapping) and "source" in confirm else confirm)
        source = f" of {confirm}" if confirm else ""
        note = f"{metric.get('n', 0)} samples{source}; {describe_measurement(report, 'metrics')}"
    if metric.get("note"):
        note = f"{text.clean(metric['note'])}; {note}"
    if drop is None:
        return FigureRow("metrics", name, before, after, how=note)
    # A drop is positive when the result is worse: a score falls by it, an error grows by it.
    sign = 1 if metric.get("better") == "lower" else -1
    interval_text = ""
    verdict: Verdict = ""
    if interval and None not in interval:
        low, high = sorted(sign * end for end in interval)
        interval_text = f"{_format_change(low, unit)} to {_format_change(high, unit)}"
        # Against the original itself nothing can be better, and any change at all is "worse": that is no verdict.
        if metric.get("provable") is not None:
            verdict = "worse" if interval[0] > 0 else "better" if interval[1] < 0 else ""
    change = _format_change(sign * drop, unit) + (" points" if unit == "%" else "")
    return FigureRow("metrics", name, before, after, change, interval_text, verdict, note)


def _format_change(value: float, unit: str) -> str:
    if unit == "%":
        return text.format_signed(100 * value)
    return ("" if value == 0 else "−" if value < 0 else "+") + text.format_digits(abs(value))


def _output_rows(report: Report) -> list[FigureRow]:
    output_rows = []
    for name, output in list_told_outputs(report).items():
        label, value = "SQNR of", "equal" if output.get("equal") else text.NO_VALUE
        if output.get("sqnr_db") is not None:
            value = f"{output['sqnr_db']:.1f} dB"
        elif output.get("agreement") is not None:
            label, value = "Equal in", format_metric(output["agreement"], "%")
        short_name = text.shorten(text.clean(name), 60)
        output_rows.append(FigureRow("outputs", f"{label} {short_name}", text.NO_VALUE, value))
    return output_rows


def list_told_outputs(report: Report) -> dict[str, Mapping[str, Any]]:
    """The outputs by name; of many states (the caches of a decoder) only the one that moved furthest."""
    outputs: Mapping[str, Mapping[str, Any]] = report.get("outputs") or {}
    kinds = (report.get("judged") or {}).get("kinds") or []
    states = [name for kind in kinds if kind["kind"] in ("state", "cache") for name in kind["outputs"] if name in outputs]
    if len(states) <= _MAX_STATES:
        return dict(outputs)
    worst = min(states, key=lambda name: _rank_level(outputs[name]))
    told = {name: output for name, output in outputs.items() if name not in states}
    return {**told, f"{worst}, the worst of {len(states)} states": outputs[worst]}


def _describe_latency(report: Report) -> str:
    latency = report.get("latency") or {}
    rounds = len((latency.get("rounds") or {}).get("result") or [])
    threads = latency.get("threads", 1)
    return (
        f"median of per-round ratios, {f'{rounds} ' if rounds else ''}interleaved rounds on"
        f" {text.clean(latency.get('provider', 'cpu'))}, {threads} thread{'' if threads == 1 else 's'},"
        f" batch {latency.get('batch', 1)}; 95 % block-bootstrap interval"
    )


#: figure → how the contract says it is counted
MEASUREMENT_NOTES: dict[str, Callable[[Report], str]] = {
    "size": lambda report: "bytes on disk, external data included",
    "download": lambda report: f"bytes of one file each, compressed by {report['download']['encoding']}, as servers do",
    "params": lambda report: "elements of float (or quantised) initializers",
    "macs": lambda report: "multiply-accumulates of Conv, ConvTranspose, MatMul and Gemm at batch 1, no bias",
    "latency": _describe_latency,
    "memory": lambda report: "peak resident memory of one inference, above the process without the model",
    "metrics": lambda report: (
        "both models on the same samples; 95 % interval of the paired difference: score interval"
        " for right and wrong, else bootstrap"
    ),
    "outputs": lambda report: "10·log₁₀(Σ a² / Σ (a − b)²), a the original's output, over all samples",
    "stages": lambda report: "measured as above after each step; bars start at zero, dots have a scale of their own",
    "layers": lambda report: (
        "SQNR of each tensor against the original's of the same name; kernels as read in the graph"
        " that the runtime made of the model"
    ),
}


def describe_data(value: Any) -> str:
    """A set of data in a few words, whether it is told as a name or as a table."""
    if not isinstance(value, Mapping):
        return "" if value is None else text.clean(value)
    fields = dict(value)
    parts = [text.clean(fields.pop("source"))] if fields.get("source") else []
    if fields.get("n") is not None:
        parts.append(f"{fields.pop('n')} samples")
    return ", ".join([*parts, *(f"{text.clean(k)} {text.clean(v)}" for k, v in fields.items() if v is not None)])


def describe_energy(report: Report) -> str:
    """What is known of energy, its source first; empty when nothing is told."""
    energy = report.get("energy") or {}
    return describe_data({key.replace("_", " "): _join_figures(value) for key, value in energy.items()})


def _join_figures(value: Any) -> Any:
    """A number with few digits; the figures of one model in a row."""
    if isinstance(value, Mapping):
        return " ".join(f"{key.replace('_', ' ')} {_join_figures(part)}" for key, part in value.items())
    if isinstance(value, list):
        return " to ".join(str(_join_figures(part)) for part in value)
    return f"{value:.3g}" if isinstance(value, float) else value


def get_model_names(report: Report) -> tuple[str, str]:
    """The file names of the two models."""
    paths = [(report.get(side) or {}).get("path") for side in ("input", "output")]
    names = [text.clean(path).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if path else "" for path in paths]
    return names[0] or "model", names[1]


def _rank_level(output: Mapping[str, Any]) -> float:
    """The SQNR; of what has none infinity where it is equal, minus that where it is not finite or not to be compared."""
    level = output.get("sqnr_db")
    return (math.inf if output.get("equal") else -math.inf) if level is None else float(level)
