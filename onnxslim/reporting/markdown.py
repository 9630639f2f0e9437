"""The report as Markdown, for a CI job summary or a pull request."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxslim.reporting import figures, text
from onnxslim.reporting.evidence import list_evidence
from onnxslim.reporting.figures import Report
from onnxslim.reporting.steps import list_steps
from onnxslim.reporting.trials import list_trials


def render_markdown(report: Report) -> str:
    """GitHub-flavoured Markdown of ``report`` (see :mod:`onnxslim.reporting`); names that come from a model are escaped."""
    # Everything a template prints passes through `finalize`, so that no name can be forgotten.
    environment = Environment(
        loader=PackageLoader("onnxslim.reporting", "."),
        autoescape=False,
        finalize=_escape_value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    before, after = figures.get_model_names(report)
    return environment.get_template("summary.md.j2").render(
        before=before,
        after=after,
        rows=figures.list_rows(report),
        evidence=list_evidence(report),
        steps=list_steps(report),
        trials=list_trials(report),
        warnings=report.get("warnings") or [],
        error=report.get("error"),
        oldest=report.get("oldest_runtime"),
    )


def _escape_value(value: Any) -> str:
    return text.escape_markdown(text.clean(value))
