"""A fragment of a model card (Mitchell et al., 2019): the figures, the data they rest on, and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxslim.reporting import figures, text
from onnxslim.reporting.figures import Report
from onnxslim.reporting.markdown import load_template

#: Whose hashes the card tells, by the key of the document.
_MODELS = {"original": "input", "result": "output"}


def render_model_card(report: Report) -> str:
    """Markdown to paste into the card of the model that ``report`` is about, of any command that has a result.

    Of a folder there is a section a model, and a line for each that is as it was.
    """
    folder = report.get("folder")
    if folder is None:
        return _render(report, title=None, kept=[])
    shared = {"metadata": report.get("metadata"), "version": report.get("version")}
    sections = [_render(entry["report"] | shared, title=entry["path"], kept=[]) for entry in _list_told(folder)]
    told = [entry["path"] for entry in _list_told(folder)]
    kept = [entry for entry in folder["models"] if entry["path"] not in told]
    return "\n".join([_render(report, title=None, kept=kept), *sections])


def _list_told(folder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The models of a folder that something was found about."""
    return [entry for entry in folder["models"] if entry["report"] is not None and entry["fate"] != "original"]


def _render(report: Report, *, title: str | None, kept: Sequence[Mapping[str, Any]]) -> str:
    """A card, or with a ``title`` a section of one; ``kept`` are models of a folder that are as they were."""
    template = load_template("model_card.md.j2", lambda value: text.escape_markdown(text.clean(value)))
    before, after = figures.get_model_names(report)
    data, metadata = report.get("data") or {}, report.get("metadata") or {}
    verification = report.get("verification") or {}
    return template.render(
        title=title,
        kept=kept,
        is_folder="folder" in report,
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
