"""The report as Markdown, for a CI job summary or a pull request."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxslim.report import figures, text
from onnxslim.report.evidence import evidence
from onnxslim.report.figures import Report
from onnxslim.report.steps import list_steps
from onnxslim.report.trials import list_trials


def markdown(report: Report) -> str:
    """GitHub-flavoured Markdown; names that come from a model are escaped.

    Args:
        report: See :mod:`onnxslim.report`.
    """
    # Everything a template prints passes through `finalize`, so that no name can be forgotten.
    environment = Environment(
        loader=PackageLoader("onnxslim.report", "."),
        autoescape=False,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    before, after = figures.title(report)
    return environment.get_template("summary.md.j2").render(
        before=before,
        after=after,
        rows=figures.rows(report),
        evidence=evidence(report),
        steps=list_steps(report),
        trials=list_trials(report),
        warnings=report.get("warnings") or [],
        error=report.get("error"),
        oldest=report.get("oldest_runtime"),
    )


def _shown(value: Any) -> str:
    return text.markdown_escape(text.clean(value))
