"""The entry point. It makes sure that ``onnxslim`` is this library before it imports anything of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import foreign


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return the exit code; by default the process's own arguments."""
    arguments = sys.argv[1:] if argv is None else argv
    found = foreign.find()
    if found is not None:
        sys.stderr.write(f"{'error' if found.fatal else 'warning'}: {found.message}\nhint: {found.hint}\n")
        if found.fatal:
            return foreign.EXIT_CODE
    # Only now: with another package in its place these imports would fail, or worse, succeed.
    from .app import run

    return run(arguments)
