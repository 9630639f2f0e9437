"""How an outcome leaves the command line: the model to its file, a report, then a table or the JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rich.console import RenderableType

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_io import atomic_write, model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.reporting.html import render_html
from onnxslim.reporting.markdown import render_markdown
from onnxslim.reporting.model_card import render_model_card
from onnxslim.reporting.terminal import render_terminal as summary

from ..options.common_options import CommonOptions
from . import terminal

#: How a report of one model made from another is written, by the ending of its file; other commands' are their tables.
REPORT_WRITERS: dict[str, Callable[[Mapping[str, Any]], str]] = {".html": render_html, ".md": render_markdown}


#: Files that a command writes besides, by the option that names them, whatever it ends with.
Writers = Mapping[str, Callable[[Mapping[str, Any]], str]]
#: (a page of a command's tables, its JSON) -> the page with what only a page can show
PageFunction = Callable[[str, Mapping[str, Any]], str]


class ShowFunction(Protocol):
    """How an outcome looks on a terminal; ``explain`` asks for what was left alone and why."""

    def __call__(self, report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType: ...


def write_model(result: Result, common: CommonOptions) -> None:
    """Write the model that came out; where a receipt is asked for the file is verified before it takes its place.

    Raises:
        OnnxslimError: The file cannot be written, or not be verified; nothing is written then.
    """
    if common.out is None or result.model is None:
        return

    def certify_draft(draft: str) -> None:
        from onnxslim.verification.verification import certify  # imports every step, which who only looks need not wait for

        certify(result, draft, recorded_as=common.out, progress=common.progress)

    result.save(common.out, check=None if common.receipt is None else certify_draft)
    result.output = compute_facts(model_file.load(common.out), common.out, common.dim)


def deliver(result: Result, common: CommonOptions, show: ShowFunction, page: PageFunction | None = None) -> None:
    """Write what was asked for besides the model, and print the rest.

    Raises:
        OnnxslimError: A file cannot be written.
    """
    if common.dry_run:
        terminal.print_text(to_json_text(result.as_json()) if common.json else result.recipe or "")
        return
    document = result.as_json()
    if common.out is not None and result.model is None:
        _write_text(common.out, to_json_text(document))
    _write_report(document, common, show, page)
    _print_outcome(document, common, show)


def deliver_folder(result: Result, common: CommonOptions, show: ShowFunction) -> None:
    """Print what came of a folder, which is written already, and write a report where one was asked for.

    Raises:
        OnnxslimError: The report cannot be written.
    """
    if common.dry_run:
        terminal.print_text(to_json_text(result.as_json()) if common.json else result.recipe or "")
        return
    document = result.as_json()
    _write_report(document, common, show)
    _print_outcome(document, common, show)


def report_gate_failure(error: OnnxslimError, common: CommonOptions, show: ShowFunction, *, makes_model: bool) -> None:
    """After a gate failed: what was measured, where it was asked for, and the table; never the model."""
    result = getattr(error, "result", None)
    if not isinstance(result, Result):
        return
    document = result.as_json(error)
    if common.out is not None and not makes_model:
        _write_text(common.out, to_json_text(document))
    _write_report(document, common, show)
    if not common.json:
        _print_outcome(document, common, show)


def format_failure(error: OnnxslimError, command: str) -> str:
    """The JSON of a command that ended in ``error``."""
    result = getattr(error, "result", None)
    return to_json_text((result if isinstance(result, Result) else Result(command)).as_json(error))


def write_more(document: Mapping[str, Any], paths: Mapping[str, str | None], writers: Writers) -> None:
    """Write the files that ``paths`` name, by option, of what ended as ``document`` says."""
    for option, path in paths.items():
        if path is not None:
            _write_text(path, writers[option](document))


def to_json_text(document: Mapping[str, Any]) -> str:
    """JSON as text."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _write_report(
    document: Mapping[str, Any], common: CommonOptions, show: ShowFunction, page: PageFunction | None = None
) -> None:
    if common.receipt is not None and document.get("receipt"):
        _write_text(common.receipt, to_json_text(document))
    if common.model_card is not None and _has_model(document):
        _write_text(common.model_card, render_model_card(document))
    if common.report is None:
        return
    extension = os.path.splitext(common.report)[1].lower()
    if show is summary or (document["metrics"] and document["output"] is not None):
        text = REPORT_WRITERS[extension](document)
    else:
        text = terminal.export_table(show(document, explain=True), html=extension == ".html")
        if page is not None and extension == ".html":
            text = page(text, document)
    _write_text(common.report, text)


def _print_outcome(document: Mapping[str, Any], common: CommonOptions, show: ShowFunction) -> None:
    if common.json:
        terminal.print_text(to_json_text(document))
        return
    if common.quiet:
        return
    # The error has its own place, below everything else.
    terminal.print_table(show({**document, "error": None}, explain=common.explain))
    for label, path in (
        (_name_output(document, common), common.out if document["error"] is None else None),
        ("receipt", common.receipt if document.get("receipt") else None),
        ("model card", common.model_card if _has_model(document) else None),
        ("report", common.report),
    ):
        if path is not None:
            terminal.print_note(f"{label}: {path}")


def _has_model(document: Mapping[str, Any]) -> bool:
    """Whether there is a model to tell of: one that was verified, or was made and passed its gates."""
    return document["error"] is None or bool(document.get("verification"))


def _name_output(document: Mapping[str, Any], common: CommonOptions) -> str:
    """What ``-o`` names."""
    is_receipt = document.get("receipt") and common.receipt is None
    return "receipt" if is_receipt else "folder" if "folder" in document else "model"


def _write_text(path: str, text: str) -> None:
    target = os.path.abspath(path)
    with atomic_write.open_draft(os.path.dirname(target)) as draft:
        draft.write(text.encode())
        draft.publish(target)
