"""The entry point. It makes sure that ``onnxslim`` is this library before it imports anything of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import name_clash
from .supervision import run_supervised


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code; by default the process's own arguments, in a process that may die."""
    arguments = sys.argv[1:] if argv is None else argv
    clash = name_clash.find_clash()
    if clash is not None:
        sys.stderr.write(f"{'error' if clash.fatal else 'warning'}: {clash.message}\nhint: {clash.hint}\n")
        if clash.fatal:
            return name_clash.EXIT_CODE
    if argv is None:
        return run_supervised(arguments)
    # Only now: with another package in its place these imports would fail, or worse, succeed.
    from .app import run

    return run(arguments)
