"""A fragment of a model card (Mitchell et al., 2019): the figures, the data they rest on, and the command."""

from __future__ import annotations

from collections.abc import Mapping

from onnxslim.reporting import figures, text
from onnxslim.reporting.figures import Report
from onnxslim.reporting.markdown import load_template

#: Whose hashes the card tells, by the key of the document.
_MODELS = {"original": "input", "result": "output"}


def render_model_card(report: Report) -> str:
    """Markdown to paste into the card of the model that ``report`` is about, of any command that has a result."""
    template = load_template("model_card.md.j2", lambda value: text.escape_markdown(text.clean(value)))
    before, after = figures.get_model_names(report)
    data, metadata = report.get("data") or {}, report.get("metadata") or {}
    verification = report.get("verification") or {}
    return template.render(
        before=before,
        after=after or before,
        rows=figures.list_rows(report),
        verdict=verification.get("verdict"),
        calibration=_describe_samples(data.get("fit")),
        judged=_describe_samples(data.get("confirm")),
        command=metadata.get("repeat with"),
        machine=metadata.get("machine"),
        runtime=metadata.get("onnxruntime"),
        oldest=report.get("oldest_runtime"),
        digests=[
            (name, report[key]["sha256"]) for name, key in (("original", "input"), ("result", "output")) if report.get(key)
        ],
        version=report.get("version"),
    )


def _describe_samples(entry: object) -> str | None:
    if not isinstance(entry, Mapping) or "source" not in entry:
        return None
    return f"{entry.get('n')} samples of {entry['source']}"
