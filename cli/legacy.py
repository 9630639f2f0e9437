"""The old habit, ``onnxslim IN [OUT]``, with the flags of the PyPI package onnxslim 0.1.98.

Its flags take several values each, which click does not do, so it has a parser of its own.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from onnxslim.compat.drop_in import rewrite, write_node_table
from onnxslim.compat.legacy_options import FUSION_PATTERNS, OPTIMIZATIONS, parse_keywords
from onnxslim.core.errors import UsageError
from onnxslim.core.memory_budget import plan_memory
from onnxslim.core.version import __version__
from onnxslim.model_io import model_file
from onnxslim.runtime.load_check import save_checked
from onnxslim.tools.inspection import inspect

from .commands.inspect import compare_models
from .console import terminal
from .limits import enforce_limits
from .options.parameter_types import DURATION, SIZE

logger = logging.getLogger("onnxslim.legacy")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint="onnxslim IN --help")


def run_legacy(arguments: Sequence[str]) -> int:
    """Run the bare form and return the exit code; it always overwrites OUT, which may be IN."""
    try:
        options = vars(_make_parser(inspects="--inspect" in arguments).parse_args(arguments))
    except SystemExit as done:  # --help and --version have printed what was asked for
        return int(done.code or 0)
    sources, out = options.pop("input_model"), options.pop("output_model", None)
    external_data = options.pop("save_as_external_data") or None
    del options["debug"]  # read where a failure is reported
    terminal.set_up_logging(quiet=False, verbose=1 if options["verbose"] else 0)
    max_memory, timeout = options.pop("max_memory"), options.pop("timeout")
    with (
        enforce_limits(timeout, max_memory, terminal.print_error),
        plan_memory(max_memory),
        model_file.trust_files(allow_hardlinks=options.pop("allow_hardlinks"), max_memory=max_memory),
    ):
        if options.pop("inspect"):
            _inspect(sources, options["dump_to_disk"])
        else:
            _simplify(sources, out, external_data, options)
    return 0


def _simplify(source: str, out: str | None, external_data: bool | None, options: dict[str, Any]) -> None:
    if options["dump_to_disk"]:
        raise UsageError("--dump-to-disk is for --inspect")
    started = time.perf_counter()
    before = inspect(source)
    _, result, report = rewrite(source, parse_keywords(**options))
    warnings = report.warnings
    if out is not None and (warning := save_checked(result, out, source, external_data=external_data)) is not None:
        warnings = [*warnings, warning]
    after = inspect(result if out is None else out)
    elapsed = time.perf_counter() - started
    after_json = {**after.as_json(), "name": os.path.basename(out or "result")}
    terminal.print_table(compare_models([before.as_json(), after_json]))
    for warning in warnings:
        logger.warning("%s", warning)
    terminal.print_text(f"{elapsed:.2f} s{'' if out else '; nothing was written: name an output to keep the result'}")


def _inspect(sources: Sequence[str], dump_to_disk: bool) -> None:
    terminal.print_table(compare_models([inspect(source).as_json() for source in sources]))
    if dump_to_disk:
        for source in sources:
            terminal.print_text(f"written: {write_node_table(model_file.load(source), os.path.basename(source))}")


def _make_parser(*, inspects: bool) -> _Parser:
    parser = _Parser(prog="onnxslim", description="Simplify a model exactly. For everything else: onnxslim --help")
    parser.add_argument("input_model", metavar="IN", nargs="+" if inspects else None, help="the model")
    if not inspects:
        parser.add_argument("output_model", metavar="OUT", nargs="?", help="where the result goes; it is overwritten")
    parser.add_argument("-v", "--version", action="version", version=__version__)
    for name, about, more in _FLAG_TABLE:
        parser.add_argument(name, help=about, **more)
    return parser


_SWITCH: dict[str, Any] = {"action": "store_true"}
_SHAPES: dict[str, Any] = {"nargs": "+", "metavar": "NAME:SHAPE"}
_TENSORS: dict[str, Any] = {"nargs": "+", "metavar": "NAME[:TYPE]"}
_NAMES: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}

#: name, help, and what else argparse wants to know
_FLAG_TABLE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--model-check", "compare the result with the input; exit 5 where they differ", _SWITCH),
    ("--model-check-inputs", "what to compare on: x:1,3,224,224 or x:data.npy", _SHAPES),
    ("--input-shapes", "fix input shapes: x:1,3,224,224", _SHAPES),
    ("--inputs", "tensors to become the inputs; as fp16, fp32, int32 or bool", _TENSORS),
    ("--outputs", "tensors to become the outputs", _TENSORS),
    ("--no-shape-infer", "taken, and changes nothing", _SWITCH),
    ("--skip-optimizations", ", ".join(OPTIMIZATIONS), {**_NAMES, "choices": OPTIMIZATIONS}),
    ("--skip-fusion-patterns", ", ".join(FUSION_PATTERNS), {**_NAMES, "choices": list(FUSION_PATTERNS)}),
    ("--size-threshold", "how much folding constants may add to the file", {"type": int, "metavar": "BYTES"}),
    ("--keep-initializer-inputs", "weights that are listed as inputs too stay replaceable", _SWITCH),
    ("--dtype", "convert the element type", {"choices": ["fp16", "fp32"]}),
    ("--save-as-external-data", "write the tensors beside the model", _SWITCH),
    ("--inspect", "only look; several models side by side", _SWITCH),
    ("--dump-to-disk", "with --inspect: write each model's nodes as csv", _SWITCH),
    ("--verbose", "say what happens", _SWITCH),
    ("--debug", "on any error, the traceback", _SWITCH),
    ("--timeout", "end with exit code 6 when it takes longer: 30s, 10m", {"type": DURATION, "metavar": "T"}),
    ("--max-memory", "end with exit code 6 when it takes more: 4GB", {"type": SIZE, "metavar": "B"}),
    ("--allow-hardlinks", "take data files of a model that have a second name", _SWITCH),
)
