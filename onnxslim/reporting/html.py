"""The report as one HTML file that needs nothing else: no network, no scripts; light, dark, or on paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from markupsafe import Markup

from onnxslim.reporting import figures, plots, text
from onnxslim.reporting.evidence import list_evidence
from onnxslim.reporting.figures import Report
from onnxslim.reporting.markdown import load_template
from onnxslim.reporting.steps import list_steps
from onnxslim.reporting.trials import MEASUREMENT_NOTE as TRIALS_HOW
from onnxslim.reporting.trials import list_other_points, list_trials

#: Every part of the report that the template asks for, and the keys of the entries of some: what is missing is null.
_REPORT_KEYS = (
    "tool", "version", "command", "input", "output", "metrics", "outputs", "latency", "warnings", "error", "stages",
    "layers", "surviving", "oldest_runtime", "metadata", "summary",
)  # fmt: skip
_RECORD_KEYS = {"input": ("path", "sha256"), "output": ("path", "sha256"), "error": ("kind", "message", "hint")}
_ENTRY_KEYS = {
    "stages": ("name", "bytes", "params", "macs", "median_ms", "metric"),
    "layers": ("name", "op", "sqnr_db", "kernel", "why"),
}
_EXPLAINED_KEYS = ("stages", "latency", "layers", "metrics")
_OUTPUT_KEYS = ("sqnr_db", "cosine", "kl", "equal")

_FAILURE_BADGES = {5: ("bad", "a gate failed"), 130: ("bad", "interrupted")}


def render_html(report: Report) -> str:
    """A page of ``report`` (see :mod:`onnxslim.reporting`); the same report gives the same bytes.

    Names in it may come from a hostile model: everything is escaped.
    """
    template = load_template("page.html.j2", lambda v: v if isinstance(v, Markup) else text.clean(v), autoescape=True)
    before, after = figures.get_model_names(report)
    rows = figures.list_rows(report)
    notes = list(dict.fromkeys(row.how for row in rows))
    return template.render(
        report=_fill_missing_keys(report),
        before=before,
        after=after,
        ending=_get_status_badge(report),
        tiles=_select_tiles(rows),
        rows=rows,
        notes=[(chr(ord("a") + index), note) for index, note in enumerate(notes)],
        note={note: chr(ord("a") + index) for index, note in enumerate(notes)},
        steps=list_steps(report),
        trials=list_trials(report),
        other_points=list_other_points(report),
        stopped=report.get("stopped"),
        plots={name: Markup(svg) for name, svg in _draw_plots(report).items()},
        how={"trials": TRIALS_HOW} | {key: figures.describe_measurement(report, key) for key in _EXPLAINED_KEYS},
        judged=_describe_gating_metric(report),
        percentiles=_collect_percentiles(report),
        value=figures.format_metric,
        data={use: said for use, value in (report.get("data") or {}).items() if (said := figures.describe_data(value))},
        energy=figures.describe_energy(report),
        evidence=list_evidence(report, explain=True),
        recipe=_list_recipe_lines(report.get("recipe")),
        size=text.format_size,
        count=text.format_count,
        ms=text.format_milliseconds,
        newline=Markup("\n"),
    )


def _fill_missing_keys(report: Report) -> dict[str, Any]:
    completed = dict.fromkeys(_REPORT_KEYS) | dict(report)
    for part, keys in _ENTRY_KEYS.items():
        completed[part] = [dict.fromkeys(keys) | dict(entry) for entry in completed[part] or []]
    outputs = (completed["outputs"] or {}).items()
    completed["outputs"] = {name: dict.fromkeys(_OUTPUT_KEYS) | dict(output) for name, output in outputs}
    for part, keys in _RECORD_KEYS.items():
        if record := completed[part]:
            completed[part] = dict.fromkeys(keys) | dict(record)
    return completed


def _get_status_badge(report: Report) -> tuple[str, str]:
    """How the run ended, and whether that is good."""
    code = report.get("exit_code") or 0
    return _FAILURE_BADGES.get(code, ("bad", "failed")) if code else ("good", report.get("status") or "done")


def _select_tiles(rows: list[figures.FigureRow]) -> list[figures.FigureRow]:
    """The three figures people came for: size, speed, and the metric that gates."""
    first_by_key = {row.key: row for row in reversed(rows)}
    return [first_by_key[key] for key in ("size", "latency", "metrics") if key in first_by_key and first_by_key[key].change]


def _describe_gating_metric(report: Report) -> dict[str, str]:
    """The name and the unit of the metric that gates, which is the stages' metric as well."""
    metric: Mapping[str, Any] = next(iter(report.get("metrics") or []), {})
    return {"name": figures.metric_name(metric.get("name", "Metric")), "unit": metric.get("unit", "%")}


def _collect_percentiles(report: Report) -> dict[str, list[float | None]]:
    latency = report.get("latency") or {}
    sides = {side: latency.get(side) or {} for side in ("original", "result")}
    return {side: [t.get(key) for key in ("median_ms", "p90_ms", "p99_ms")] for side, t in sides.items() if t}


def _draw_plots(report: Report) -> dict[str, str]:
    svgs = dict.fromkeys(("stages", "latency", "intervals", "layers", "trials"), "")
    metrics = report.get("metrics") or []
    if len(report.get("stages") or []) > 1:
        svgs["stages"] = plots.plot_stages(report["stages"], **_describe_gating_metric(report))
    if len([e for e in report.get("candidates") or [] if e.get("bytes") and e.get("median_ms")]) > 1:
        svgs["trials"] = plots.plot_trials(report["candidates"], report.get("chosen"))
    rounds = (report.get("latency") or {}).get("rounds") or {}
    if rounds.get("original") and rounds.get("result"):
        svgs["latency"] = plots.plot_latency(rounds["original"], rounds["result"])
    paired = [m for m in metrics if m.get("unit", "%") == "%" and m.get("interval") and None not in m["interval"]]
    if paired:
        svgs["intervals"] = plots.plot_intervals(paired)
    if any(layer.get("sqnr_db") is not None for layer in report.get("layers") or []):
        svgs["layers"] = plots.plot_layers(report["layers"])
    return svgs


def _list_recipe_lines(recipe: Any) -> list[str]:
    """The lines of the recipe, as YAML when it is a table."""
    if not recipe:
        return []
    dumped = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    return str(dumped).split("\n")
