"""``onnxslim compare``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.core.errors import UsageError
from onnxslim.data.readers.npz import write_npz
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result
from onnxslim.reporting.evidence import describe_kinds
from onnxslim.reporting.text import NO_VALUE, clean
from onnxslim.tools.inspection import inspect as look
from onnxslim.validation.comparison import compare as measure

from ..command import command
from ..console.tables import format_warnings, make_grid
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL
from .inspect import compare_models


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """What the two consist of, how far their outputs are apart, and where they part."""
    return Group(
        compare_models(report["models"]),
        *_render_differences(report.get("comparison"), explain=explain),
        *format_warnings(report),
    )


def _render_differences(comparison: Mapping[str, Any] | None, *, explain: bool) -> Iterator[RenderableType]:
    if comparison is None:
        return
    yield make_grid(
        ("output", ">largest difference", ">of the largest value"),
        (
            (clean(name), _format_number(output["max_abs"]), output["mismatch"] or _format_number(output["relative"]))
            for name, output in comparison["outputs"].items()
        ),
    )
    yield from (Text(line, "dim") for line in describe_kinds(comparison["kinds"], explain=explain))
    verdict = "equal" if comparison["equal"] else "not equal"
    yield Text(f"{verdict} (to {comparison['tolerance']:g} of the largest value, the runtime's optimisation off)", "bold")
    changed = comparison["changed"]
    if changed["samples"]:
        listed = ", ".join(map(str, changed["samples"][:20])) + (", …" if len(changed["samples"]) > 20 else "")
        yield Text(f"{len(changed['samples'])} samples changed their answer ({clean(changed['output'])}): {listed}")
    if comparison["layers"]:
        yield make_grid(("tensor", "made by", "op", ">SQNR", ""), map(_format_layer, comparison["layers"]))


def _format_layer(layer: Mapping[str, Any]) -> tuple[Text, ...]:
    reason = "equal" if layer["equal"] else "another shape" if layer["other_shape"] else NO_VALUE
    sqnr = reason if layer["sqnr_db"] is None else f"{layer['sqnr_db']:.1f} dB"
    mark = "the first bad layer" if layer["first_bad"] else ""
    cells = (layer["name"], layer["node"], layer["op"], sqnr, mark)
    return tuple(Text(clean(cell), "bold red" if mark else "") for cell in cells)


def _format_number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3g}"


@command("compare", show=show, has_result=True)
@click.argument("a", metavar="A", type=MODEL)
@click.argument("b", metavar="B", type=MODEL)
@shared_options.data
@click.option("--layers", is_flag=True, help="Look inside: the SQNR of every tensor that both have.")
@click.option("--save-changed", metavar="F.npz", help="Write the inputs whose answer changed, as data for --data.")
def compare(common: CommonOptions, a: str, b: str, data: str | None, layers: bool, save_changed: str | None) -> Result:
    """Two models side by side; with --data also whether B's outputs equal A's, and where they part."""
    for option, given in (("--layers", layers), ("--save-changed", save_changed)):
        if given and data is None:
            raise UsageError(f"{option} needs --data", hint="--data random will do, where real data are not at hand")
    if save_changed is not None:
        _check_save_path(save_changed, common)
    first, second = look(a, dims=common.dim), look(b, dims=common.dim)
    extra: dict[str, Any] = {"models": [first.as_json(), second.as_json()]}
    result = Result("compare", input=first.facts, output=second.facts, extra=extra)
    if data is not None:
        original = model_file.load(a)
        samples = common.open_samples(data, original)
        comparison = measure(
            original,
            model_file.load(b),
            samples,
            layers,
            config=common.config,
            batch_size=common.batch_size or 8,
            output=common.output,
            progress=common.progress,
        )
        extra["comparison"] = comparison.as_json()
        result.data["confirm"] = samples.as_json()
        result.warnings = list(samples.warnings)
        if save_changed is not None and comparison.changed.indices:
            write_npz(save_changed, comparison.changed.arrays(samples.labels))
    return result


def _check_save_path(path: str, common: CommonOptions) -> None:
    if not path.lower().endswith(".npz"):
        raise UsageError(f"--save-changed {path}: expected a file called .npz")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise UsageError(f"--save-changed {path}: there is no such folder")
    if os.path.lexists(path) and not common.force:
        raise UsageError(f"--save-changed {path}: exists already", hint="--force overwrites it")
