"""The forms of the report as text, and names that would harm them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rich.console import Console

from onnxslim.reporting.html import render_html
from onnxslim.reporting.markdown import render_markdown
from onnxslim.reporting.terminal import render_terminal
from tests.support.sample_report import sample

#: What the author of a hostile model might call a tensor.
HOSTILE = (
    "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "{{ 7 * 7 }}{% raw %}",
    "[bold red]rich[/]",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe",
    "$\\frac{broken",
    "a|b`c`*d*_e_\n# heading",
    'x" onload="alert(3)',
    "#010101 url(https://evil.example/x)",
)


def printed(report: dict[str, Any], *, explain: bool = False, width: int = 120) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render_terminal(report, explain=explain))
    return console.export_text()


FORMS: dict[str, Callable[[dict[str, Any]], str]] = {
    "terminal": lambda report: printed(report, explain=True),
    "markdown": render_markdown,
    "html": render_html,
}


def hostile(name: str) -> dict[str, Any]:
    """The sample with ``name`` wherever a model or its file could put one."""
    report = sample()
    report["input"]["path"] = report["output"]["path"] = name
    report["outputs"] = {name: report["outputs"]["output"]}
    report["stages"][1]["name"] = name
    report["steps"][1] |= {"name": name, "changed": {name: 3}, "declined": [{"node": name, "reason": name}]}
    report["layers"][5] |= {"name": name, "op": name, "why": name}
    report["metrics"][0]["name"] = name
    report["metadata"] = {name: name}
    report["data"] = {"fit": name, "confirm": {name: name}}
    report["error"] = {"kind": "gate", "message": name, "hint": name}
    report["oldest_runtime"] = report["recipe"] = name
    report["warnings"] = [name]
    return report
