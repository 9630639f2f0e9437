"""What several commands show in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from onnxslim.reporting.text import clean


def make_grid(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str | None = None) -> Table:
    """A table; a column whose name begins with ``>`` is aligned to the right. Names of a model belong in ``clean``."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(columns))
    for name in columns:
        right = name.startswith(">")
        table.add_column(Text(name.removeprefix(">")), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def format_place(report: Mapping[str, Any]) -> Iterator[Text]:
    """Where it was timed, if that was not here."""
    place = report.get("timed_on")
    if place is not None:
        yield Text(clean(f"timed at {place['address']}: {place['cpu']}, onnxruntime {place['onnxruntime']}"), "dim")


def format_warnings(report: Mapping[str, Any]) -> Iterator[Text]:
    """The warnings, one line each."""
    for line in report["warnings"]:
        yield Text.assemble(("warning: ", "bold yellow"), clean(line))
