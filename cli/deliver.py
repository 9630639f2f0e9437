"""How an outcome leaves the command line: the model to its file, a report, then a table or the JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rich.console import RenderableType

from onnxslim import io
from onnxslim.errors import GateError, OnnxslimError
from onnxslim.files import atomic
from onnxslim.report.html import html
from onnxslim.report.markdown import markdown
from onnxslim.report.terminal import terminal as summary
from onnxslim.result import Result, facts

from . import terminal
from .common import Common

#: How a report of one model made from another is written, by the ending of its file; other commands' are their tables.
REPORTS: dict[str, Callable[[Mapping[str, Any]], str]] = {".html": html, ".md": markdown}


#: (a page of a command's tables, its JSON) -> the page with what only a page can show
Page = Callable[[str, Mapping[str, Any]], str]


class Show(Protocol):
    """How an outcome looks on a terminal; ``explain`` asks for what was left alone and why."""

    def __call__(self, report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType: ...


def deliver(result: Result, common: Common, show: Show, page: Page | None = None) -> None:
    """Write what was asked for and print the rest.

    Raises:
        OnnxslimError: A file cannot be written.
    """
    if common.dry_run:
        terminal.print_text(to_text(_finite(result.as_json())) if common.json else result.recipe or "")
        return
    if common.out is not None and result.model is not None:
        result.save(common.out)
        result.output = facts(io.load(common.out), common.out, common.dim)
    document = _finite(result.as_json())
    if common.out is not None and result.model is None:
        _write(common.out, to_text(document))
    _report(document, common, show, page)
    _print(document, common, show)


def diagnose(error: GateError, common: Common, show: Show) -> None:
    """After a gate failed: a report of what was measured, where one was asked for, and the table; never the model."""
    result = getattr(error, "result", None)
    if not isinstance(result, Result):
        return
    document = _finite(result.as_json(error))
    _report(document, common, show)
    if not common.json:
        _print(document, common, show)


def failed(error: OnnxslimError, command: str) -> str:
    """The JSON of a command that ended in ``error``."""
    result = getattr(error, "result", None)
    return to_text(_finite((result if isinstance(result, Result) else Result(command)).as_json(error)))


def to_text(document: Mapping[str, Any]) -> str:
    """JSON as text."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """``value`` with null for infinity and for what is not a number, which JSON lacks."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _report(document: Mapping[str, Any], common: Common, show: Show, page: Page | None = None) -> None:
    if common.report is None:
        return
    ending = os.path.splitext(common.report)[1].lower()
    if show is summary or (document["metrics"] and document["output"] is not None):
        text = REPORTS[ending](document)
    else:
        text = terminal.export(show(document, explain=True), html=ending == ".html")
        if page is not None and ending == ".html":
            text = page(text, document)
    _write(common.report, text)


def _print(document: Mapping[str, Any], common: Common, show: Show) -> None:
    if common.json:
        terminal.print_text(to_text(document))
        return
    if common.quiet:
        return
    # The error has its own place, below everything else.
    terminal.print_table(show({**document, "error": None}, explain=common.explain))
    for label, path in (
        ("model", common.out if document["error"] is None else None),
        ("report", common.report),
    ):
        if path is not None:
            terminal.print_note(f"{label}: {path}")


def _write(path: str, text: str) -> None:
    target = os.path.abspath(path)
    with atomic.draft(os.path.dirname(target)) as draft:
        draft.write(text.encode())
        draft.publish(target)
