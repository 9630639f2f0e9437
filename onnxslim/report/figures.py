"""The rows that every form of the report shows: one figure, before and after, and how it was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from onnxslim.report import text

Report = Mapping[str, Any]
Verdict = Literal["better", "worse", ""]


@dataclass(frozen=True)
class Row:
    """One figure of both models.

    Attributes:
        key: The figure's key in :data:`HOW`.
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


def rows(report: Report) -> list[Row]:
    """Every figure that ``report`` holds, in the order of the report."""
    made = [row for make in (_size, _params, _macs, _latency, _memory, _metrics, _outputs) for row in make(report)]
    return [Row(**{**row.__dict__, "how": row.how or how(report, row.key)}) for row in made]


def how(report: Report, key: str) -> str:
    """How the figure ``key`` was measured."""
    given = (report.get("measured") or {}).get(key)
    return text.clean(given) if given else HOW[key](report)


def _counted(key: str, name: str, field: str, form: Callable[[float | None], str]) -> Callable[[Report], list[Row]]:
    def make(report: Report) -> list[Row]:
        before, after = (report.get("input") or {}).get(field), (report.get("output") or {}).get(field)
        if before is None:
            return []
        change, verdict = _shrinkage(before, after)
        return [Row(key, name, form(before), form(after), change, verdict=verdict)]

    return make


def _shrinkage(before: float, after: float | None) -> tuple[str, Verdict]:
    if not after or not before:
        return "", ""
    change = text.times(before / after, "smaller", "larger")
    return change, "" if change == "unchanged" else "better" if after < before else "worse"


_size = _counted("size", "Size", "bytes", text.size)
_params = _counted("params", "Parameters", "params", text.count)
_macs = _counted("macs", "MACs", "macs", text.count)


def _latency(report: Report) -> list[Row]:
    latency = report.get("latency")
    if not latency or not latency.get("original") or not latency.get("result"):
        return []
    ratio, interval = latency.get("ratio"), latency.get("interval")
    change = text.times(ratio, "faster", "slower") if ratio else ""
    verdict: Verdict = ""
    if ratio and (interval is None or not interval[0] <= 1 <= interval[1]):
        verdict = "better" if ratio > 1 else "worse"
    spread = f"{interval[0]:.2f}× to {interval[1]:.2f}×" if interval else ""
    medians = [text.milliseconds(latency[side].get("median_ms")) for side in ("original", "result")]
    return [Row("latency", "Latency", medians[0], medians[1], change, spread, verdict)]


def _memory(report: Report) -> list[Row]:
    memory = report.get("memory")
    if not memory or memory.get("original") is None:
        return []
    change, verdict = _shrinkage(memory["original"], memory.get("result"))
    return [Row("memory", "Peak memory", text.size(memory["original"]), text.size(memory.get("result")), change,
                verdict=verdict)]  # fmt: skip


#: metric → its name in prose; any other metric is called what its author called it
METRIC_NAMES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "agreement": "Agreement",
    "confidence": "Expected top-1",
    "relative": "1 − relative error",
    "miou": "mIoU",
    "f1": "F1",
    "ap": "AP",
    "rmse": "RMSE",
    "mae": "MAE",
    "ctc": "Sequence accuracy",
}


def metric_name(name: str) -> str:
    """What people call the metric ``name``."""
    return METRIC_NAMES.get(name) or text.clean(name)


def metric_value(value: float | None, unit: str) -> str:
    """``value`` as a percentage where the metric is a share, else with four digits."""
    if value is None:
        return text.NONE
    return f"{100 * value:.2f} %" if unit == "%" else text.digits(value, 4)


def _metrics(report: Report) -> list[Row]:
    return [_metric(report, metric) for metric in report.get("metrics") or []] + _fitted(report)


def _fitted(report: Report) -> list[Row]:
    """The first metric that was also taken on data the steps were fitted on: what it flatters by there."""
    names = [metric["name"] for metric in report.get("metrics") or []]
    known = [metric for metric in report.get("fit_metrics") or [] if metric["name"] in names]
    how = "the same on samples of the fit data; it says nothing about other data"
    rows = [_metric(report, metric) for metric in known[:1]]
    return [replace(row, name=f"{row.name}, fit data", verdict="", how=how) for row in rows]


def _metric(report: Report, metric: Mapping[str, Any]) -> Row:
    unit, drop, interval = metric.get("unit", "%"), metric.get("drop"), metric.get("interval")
    name = metric_name(metric["name"])
    before, after = (metric_value(metric.get(side), unit) for side in ("original", "result"))
    if metric["name"] in (report.get("measured") or {}):
        said = how(report, metric["name"])
    else:
        confirm = (report.get("data") or {}).get("confirm")
        confirm = described(confirm["source"] if isinstance(confirm, Mapping) and "source" in confirm else confirm)
        said = f"{metric.get('n', 0)} samples{f' of {confirm}' if confirm else ''}; {how(report, 'metrics')}"
    if drop is None:
        return Row("metrics", name, before, after, how=said)
    # A drop is positive when the result is worse: a score falls by it, an error grows by it.
    sign = 1 if metric.get("better") == "lower" else -1
    spread = ""
    verdict: Verdict = ""
    if interval and None not in interval:
        low, high = sorted(sign * end for end in interval)
        spread = f"{_moved(low, unit)} to {_moved(high, unit)}"
        # Against the original itself nothing can be better, and any change at all is "worse": that is no verdict.
        if metric.get("provable") is not None:
            verdict = "worse" if interval[0] > 0 else "better" if interval[1] < 0 else ""
    points = " points" if unit == "%" else ""
    return Row("metrics", name, before, after, _moved(sign * drop, unit) + points, spread, verdict, said)


def _moved(value: float, unit: str) -> str:
    if unit == "%":
        return text.signed(100 * value)
    return ("" if value == 0 else "−" if value < 0 else "+") + text.digits(abs(value))


def _outputs(report: Report) -> list[Row]:
    made = []
    for name, output in (report.get("outputs") or {}).items():
        shown = text.shorten(text.clean(name), 40)
        if output.get("sqnr_db") is not None:
            made.append(Row("outputs", f"SQNR of {shown}", text.NONE, f"{output['sqnr_db']:.1f} dB"))
        elif output.get("agreement") is not None:
            made.append(Row("outputs", f"Equal in {shown}", text.NONE, metric_value(output["agreement"], "%")))
        else:
            made.append(Row("outputs", f"SQNR of {shown}", text.NONE, "equal" if output.get("equal") else text.NONE))
    return made


def _how_latency(report: Report) -> str:
    latency = report.get("latency") or {}
    rounds = len((latency.get("rounds") or {}).get("result") or [])
    threads = latency.get("threads", 1)
    return (
        f"median of per-round ratios, {f'{rounds} ' if rounds else ''}interleaved rounds on"
        f" {text.clean(latency.get('provider', 'cpu'))}, {threads} thread{'' if threads == 1 else 's'},"
        f" batch {latency.get('batch', 1)}; 95 % block-bootstrap interval"
    )


#: figure → how the contract says it is counted
HOW: dict[str, Callable[[Report], str]] = {
    "size": lambda report: "bytes on disk, external data included",
    "params": lambda report: "elements of float (or quantised) initializers",
    "macs": lambda report: "multiply-accumulates of Conv, ConvTranspose, MatMul and Gemm at batch 1, no bias",
    "latency": _how_latency,
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


def described(value: Any) -> str:
    """A set of data in a few words, whether it is told as a name or as a table."""
    if not isinstance(value, Mapping):
        return "" if value is None else text.clean(value)
    told = dict(value)
    parts = [text.clean(told.pop("source"))] if told.get("source") else []
    if told.get("n") is not None:
        parts.append(f"{told.pop('n')} samples")
    return ", ".join([*parts, *(f"{text.clean(k)} {text.clean(v)}" for k, v in told.items() if v is not None)])


def energy(report: Report) -> str:
    """What is known of energy, its source first; empty when nothing is told."""
    return described({key.replace("_", " "): _joined(value) for key, value in (report.get("energy") or {}).items()})


def _joined(value: Any) -> Any:
    """A number with few digits; the figures of one model in a row."""
    if isinstance(value, Mapping):
        return " ".join(f"{key.replace('_', ' ')} {_joined(one)}" for key, one in value.items())
    if isinstance(value, list):
        return " to ".join(str(_joined(one)) for one in value)
    return f"{value:.3g}" if isinstance(value, float) else value


def title(report: Report) -> tuple[str, str]:
    """The file names of the two models."""
    paths = [(report.get(side) or {}).get("path") for side in ("input", "output")]
    names = [text.clean(path).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if path else "" for path in paths]
    return names[0] or "model", names[1]
