"""The terminal: what people see, on which stream. Nothing else in this package prints."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from onnxslim.core.errors import OnnxslimError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.reporting.text import clean

#: Columns of a table that goes into a file or a pipe, where nobody can widen the window.
_PIPE_WIDTH = 120


def accept_any_character() -> None:
    """Let the streams replace what their encoding lacks, rather than fail on an arrow or somebody's tensor name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _discard_output(stream: IO[str]) -> None:
    """What is still written to a stream whose reader has gone goes nowhere.

    The reader of a pipe (``| head``) had what it wanted; the work, its files and its exit code are not its business.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without a reader; rich would end the process with exit code 1."""
        self.quiet = True
        _discard_output(self.file)


def print_text(text: str) -> None:
    """Text for programs and people alike, on stdout, as it is."""
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output(sys.stdout)


def print_table(table: RenderableType) -> None:
    """A table on stdout; coloured where that is a terminal."""
    _make_console(stderr=False).print(table)


def export_table(table: RenderableType, *, html: bool) -> str:
    """A table as a self-contained page, or as a block of Markdown."""
    console = Console(file=io.StringIO(), record=True, width=_PIPE_WIDTH)
    console.print(table)
    return console.export_html(inline_styles=True) if html else f"````text\n{console.export_text()}````\n"


def print_error(error: OnnxslimError) -> None:
    """One line, and the hint on a second, on stderr."""
    console = _make_console(stderr=True)
    console.print(Text.assemble(("error: ", "bold red"), clean(error.message)), soft_wrap=True)
    if error.hint is not None:
        console.print(Text.assemble(("hint: ", "bold"), clean(error.hint)), soft_wrap=True)


def print_note(text: str) -> None:
    """A note on stderr."""
    _make_console(stderr=True).print(Text(text), soft_wrap=True)


def set_up_logging(quiet: bool, verbose: int) -> None:
    """The library's log on stderr: warnings, with ``-v`` what happens, with ``-vv`` everything."""
    logging.captureWarnings(True)
    logger = logging.getLogger("onnxslim")
    logger.setLevel(logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)


def restore() -> None:
    """Show the cursor again that the bar of a process hid which did not live to show it."""
    console = _make_console(stderr=True)
    if console.is_terminal:
        console.show_cursor(True)
        console.print()


@contextmanager
def show_progress(quiet: bool) -> Iterator[Progress]:
    """A bar on stderr for as long as the block runs, where that is a terminal; it is gone afterwards."""
    console = _make_console(stderr=True)
    if quiet or not console.is_terminal:
        yield ignore_progress
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        yield show


def _make_console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return _Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH)
