"""The old habit, ``onnxslim IN [OUT]``, with the flags of the PyPI package onnxslim 0.1.98.

Its flags take several values each, which click does not do, so it has a parser of its own.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import NoReturn

from onnxslim import io
from onnxslim.errors import UsageError
from onnxslim.inspect import inspect
from onnxslim.slim import OPTIMIZATIONS, PATTERNS, dump, read, rewrite
from onnxslim.version import __version__

from . import terminal
from .inspect import side_by_side


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint="onnxslim IN --help")


def run(arguments: Sequence[str]) -> int:
    """Run the bare form and return the exit code; it always overwrites OUT, which may be IN."""
    try:
        options = vars(_parser(inspects="--inspect" in arguments).parse_args(arguments))
    except SystemExit as done:  # --help and --version have printed what was asked for
        return int(done.code or 0)
    sources, out = options.pop("input_model"), options.pop("output_model", None)
    beside = options.pop("save_as_external_data") or None
    terminal.set_up_logging(quiet=False, verbose=1 if options["verbose"] else 0)
    if options.pop("inspect"):
        _inspect(sources, options["dump_to_disk"])
        return 0
    if options["dump_to_disk"]:
        raise UsageError("--dump-to-disk is for --inspect")
    started = time.perf_counter()
    before = inspect(sources)
    _, result, _ = rewrite(sources, read(**options))
    if out is not None:
        io.save(result, out, external_data=beside)
    after = inspect(result if out is None else out)
    taken = time.perf_counter() - started
    terminal.print_table(
        side_by_side([before.as_json(), {**after.as_json(), "name": os.path.basename(out or "result")}])
    )
    terminal.print_text(
        f"{taken:.2f} s" + ("" if out else "; nothing was written: name an output to keep the result")
    )
    return 0


def _inspect(sources: Sequence[str], dump_to_disk: bool) -> None:
    terminal.print_table(side_by_side([inspect(source).as_json() for source in sources]))
    if dump_to_disk:
        for source in sources:
            terminal.print_text(f"written: {dump(io.load(source), os.path.basename(source))}")


def _parser(*, inspects: bool) -> _Parser:
    parser = _Parser(
        prog="onnxslim", description="Simplify a model exactly. For everything else: onnxslim --help"
    )
    parser.add_argument("input_model", metavar="IN", nargs="+" if inspects else None, help="the model")
    if not inspects:
        parser.add_argument(
            "output_model", metavar="OUT", nargs="?", help="where the result goes; it is overwritten"
        )
    add = parser.add_argument
    add("-v", "--version", action="version", version=__version__)
    add(
        "--model-check",
        action="store_true",
        help="compare the result with the input; exit 5 where they differ",
    )
    add(
        "--model-check-inputs",
        nargs="+",
        metavar="NAME:SHAPE",
        help="what to compare on: x:1,3,224,224 or x:data.npy",
    )
    add("--input-shapes", nargs="+", metavar="NAME:SHAPE", help="fix input shapes: x:1,3,224,224")
    add(
        "--inputs",
        nargs="+",
        metavar="NAME[:TYPE]",
        help="tensors to become the inputs; fp16, fp32, int32, bool",
    )
    add("--outputs", nargs="+", metavar="NAME[:TYPE]", help="tensors to become the outputs")
    add("--no-shape-infer", action="store_true", help="taken, and changes nothing")
    add(
        "--skip-optimizations",
        nargs="+",
        metavar="NAME",
        choices=OPTIMIZATIONS,
        help=", ".join(OPTIMIZATIONS),
    )
    add("--skip-fusion-patterns", nargs="+", metavar="NAME", choices=list(PATTERNS), help=", ".join(PATTERNS))
    add("--size-threshold", type=int, metavar="BYTES", help="how much folding constants may add to the file")
    add("--dtype", choices=["fp16", "fp32"], help="convert the element type")
    add("--save-as-external-data", action="store_true", help="write the tensors beside the model")
    add("--inspect", action="store_true", help="only look; several models side by side")
    add("--dump-to-disk", action="store_true", help="with --inspect: write each model's nodes as csv")
    add("--verbose", action="store_true", help="say what happens")
    return parser
