"""The report as one HTML file that needs nothing else: no network, no scripts; light, dark, or on paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from onnxslim.report import figures, plots, text
from onnxslim.report.evidence import evidence
from onnxslim.report.figures import Report
from onnxslim.report.steps import list_steps
from onnxslim.report.trials import HOW as TRIALS_HOW
from onnxslim.report.trials import list_trials

#: Every part of the report that the template asks for, and the keys of the entries of some: what is missing is null.
_PARTS = (
    "tool", "version", "command", "input", "output", "metrics", "outputs", "latency", "warnings", "error", "stages",
    "layers", "surviving", "oldest_runtime", "metadata",
)  # fmt: skip
_RECORDS = {"input": ("path", "sha256"), "output": ("path", "sha256"), "error": ("kind", "message", "hint")}
_ENTRIES = {
    "stages": ("name", "bytes", "params", "macs", "median_ms", "metric"),
    "layers": ("name", "op", "sqnr_db", "kernel", "why"),
}
_OUTPUT = ("sqnr_db", "cosine", "kl", "equal")

_ENDINGS = {5: ("bad", "a gate failed"), 130: ("bad", "interrupted")}


def html(report: Report) -> str:
    """A page; the same report gives the same bytes.

    Args:
        report: See :mod:`onnxslim.report`. Names in it may come from a hostile model: everything is escaped.
    """
    environment = Environment(
        loader=PackageLoader("onnxslim.report", "."),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    before, after = figures.title(report)
    rows = figures.rows(report)
    notes = list(dict.fromkeys(row.how for row in rows))
    return environment.get_template("page.html.j2").render(
        report=_completed(report),
        before=before,
        after=after,
        ending=_ending(report),
        tiles=_tiles(rows),
        rows=rows,
        notes=[(chr(ord("a") + index), note) for index, note in enumerate(notes)],
        note={note: chr(ord("a") + index) for index, note in enumerate(notes)},
        steps=list_steps(report),
        trials=list_trials(report),
        stopped=report.get("stopped"),
        plots={name: Markup(svg) for name, svg in _plots(report).items()},
        how={key: figures.how(report, key) for key in ("stages", "latency", "layers", "metrics")}
        | {"trials": TRIALS_HOW},
        judged=_judged(report),
        percentiles=_percentiles(report),
        value=figures.metric_value,
        data={use: told for use, value in (report.get("data") or {}).items() if (told := figures.described(value))},
        energy=figures.energy(report),
        evidence=evidence(report),
        recipe=_recipe(report.get("recipe")),
        size=text.size,
        count=text.count,
        ms=text.milliseconds,
        newline=Markup("\n"),
    )


def _completed(report: Report) -> dict[str, Any]:
    full = dict.fromkeys(_PARTS) | dict(report)
    for part, keys in _ENTRIES.items():
        full[part] = [dict.fromkeys(keys) | dict(entry) for entry in full[part] or []]
    full["outputs"] = {name: dict.fromkeys(_OUTPUT) | dict(output) for name, output in (full["outputs"] or {}).items()}
    for part, keys in _RECORDS.items():
        if found := full[part]:
            full[part] = dict.fromkeys(keys) | dict(found)
    return full


def _ending(report: Report) -> tuple[str, str]:
    """How the run ended, and whether that is good."""
    code = report.get("exit_code") or 0
    return _ENDINGS.get(code, ("bad", "failed")) if code else ("good", report.get("status") or "done")


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) else text.clean(value)


def _tiles(rows: list[figures.Row]) -> list[figures.Row]:
    """The three figures people came for: size, speed, and the metric that gates."""
    first = {row.key: row for row in reversed(rows)}
    return [first[key] for key in ("size", "latency", "metrics") if key in first and first[key].change]


def _judged(report: Report) -> dict[str, str]:
    """The name and the unit of the metric that gates, which is the stages' metric as well."""
    first: Mapping[str, Any] = next(iter(report.get("metrics") or []), {})
    return {"name": figures.metric_name(first.get("name", "Metric")), "unit": first.get("unit", "%")}


def _percentiles(report: Report) -> dict[str, list[float | None]]:
    latency = report.get("latency") or {}
    sides = {side: latency.get(side) or {} for side in ("original", "result")}
    return {side: [t.get(key) for key in ("median_ms", "p90_ms", "p99_ms")] for side, t in sides.items() if t}


def _plots(report: Report) -> dict[str, str]:
    made = dict.fromkeys(("stages", "latency", "intervals", "layers", "trials"), "")
    metrics = report.get("metrics") or []
    if len(report.get("stages") or []) > 1:
        made["stages"] = plots.stages(report["stages"], **_judged(report))
    if len([e for e in report.get("candidates") or [] if e.get("bytes") and e.get("median_ms")]) > 1:
        made["trials"] = plots.trials(report["candidates"], report.get("chosen"))
    rounds = (report.get("latency") or {}).get("rounds") or {}
    if rounds.get("original") and rounds.get("result"):
        made["latency"] = plots.latency(rounds["original"], rounds["result"])
    paired = [m for m in metrics if m.get("unit", "%") == "%" and m.get("interval") and None not in m["interval"]]
    if paired:
        made["intervals"] = plots.intervals(paired)
    if any(layer.get("sqnr_db") is not None for layer in report.get("layers") or []):
        made["layers"] = plots.layers(report["layers"])
    return made


def _recipe(recipe: Any) -> list[str]:
    """The lines of the recipe, as YAML when it is a table."""
    if not recipe:
        return []
    dumped = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    return str(dumped).split("\n")
