"""The report as Markdown, for a CI job summary or a pull request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onnxslim.reporting import figures, text
from onnxslim.reporting.evidence import list_evidence
from onnxslim.reporting.figures import Report
from onnxslim.reporting.steps import list_steps
from onnxslim.reporting.trials import list_other_points, list_trials

if TYPE_CHECKING:
    from jinja2 import Template


def load_template(name: str, finalize: Callable[[Any], str], *, autoescape: bool = False) -> Template:
    """The template of a page; everything that it prints passes through ``finalize``, so that no name can be forgotten."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # few commands write a page

    environment = Environment(loader=PackageLoader("onnxslim.reporting", "."), autoescape=autoescape, finalize=finalize)
    environment.undefined, environment.trim_blocks, environment.lstrip_blocks = StrictUndefined, True, True
    return environment.get_template(name)


def render_markdown(report: Report) -> str:
    """GitHub-flavoured Markdown of ``report`` (see :mod:`onnxslim.reporting`); names that come from a model are escaped."""
    template = load_template("summary.md.j2", lambda value: text.escape_markdown(text.clean(value)))
    before, after = figures.get_model_names(report)
    return template.render(
        before=before,
        after=after,
        summary=report.get("summary"),
        rows=figures.list_rows(report),
        evidence=list_evidence(report, explain=True),
        steps=list_steps(report),
        trials=list_trials(report),
        other_points=list_other_points(report),
        warnings=report.get("warnings") or [],
        error=report.get("error"),
        oldest=report.get("oldest_runtime"),
    )
