"""``onnxslim compare``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim import io
from onnxslim.data.npz import write
from onnxslim.errors import UsageError
from onnxslim.inspect import inspect as look
from onnxslim.report.text import NONE, clean
from onnxslim.result import Result
from onnxslim.validate.compare import compare as measure

from . import options
from .command import command
from .common import Common
from .inspect import side_by_side
from .params import MODEL
from .show import grid, warnings


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """What the two consist of, how far their outputs are apart, and where they part."""
    return Group(side_by_side(report["models"]), *_differences(report.get("comparison")), *warnings(report))


def _differences(found: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    if found is None:
        return
    yield grid(
        ("output", ">largest difference", ">of the largest value"),
        (
            (clean(name), _number(output["max_abs"]), output["mismatch"] or _number(output["relative"]))
            for name, output in found["outputs"].items()
        ),
    )
    verdict = "equal" if found["equal"] else "not equal"
    yield Text(f"{verdict} (to {found['tolerance']:g} of the largest value, the runtime's optimisation off)", "bold")
    changed = found["changed"]
    if changed["samples"]:
        listed = ", ".join(map(str, changed["samples"][:20])) + (", …" if len(changed["samples"]) > 20 else "")
        yield Text(f"{len(changed['samples'])} samples changed their answer ({clean(changed['output'])}): {listed}")
    if found["layers"]:
        yield grid(("tensor", "made by", "op", ">SQNR", ""), map(_layer, found["layers"]))


def _layer(layer: Mapping[str, Any]) -> tuple[Text, ...]:
    named = "equal" if layer["equal"] else "another shape" if layer["other_shape"] else NONE
    sqnr = named if layer["sqnr_db"] is None else f"{layer['sqnr_db']:.1f} dB"
    mark = "the first bad layer" if layer["first_bad"] else ""
    cells = (layer["name"], layer["node"], layer["op"], sqnr, mark)
    return tuple(Text(clean(cell), "bold red" if mark else "") for cell in cells)


def _number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3g}"


@command("compare", show=show)
@click.argument("a", metavar="A", type=MODEL)
@click.argument("b", metavar="B", type=MODEL)
@options.data
@click.option("--layers", is_flag=True, help="Look inside: the SQNR of every tensor that both have.")
@click.option("--save-changed", metavar="F.npz", help="Write the inputs whose answer changed, as data for --data.")
def compare(common: Common, a: str, b: str, data: str | None, layers: bool, save_changed: str | None) -> Result:
    """Two models side by side; with --data also whether B's outputs equal A's, and where they part."""
    for option, given in (("--layers", layers), ("--save-changed", save_changed)):
        if given and data is None:
            raise UsageError(f"{option} needs --data", hint="--data random will do, where real data are not at hand")
    if save_changed is not None:
        _check_target(save_changed, common)
    first, second = look(a, dims=common.dim), look(b, dims=common.dim)
    extra: dict[str, Any] = {"models": [first.as_json(), second.as_json()]}
    result = Result("compare", input=first.facts, output=second.facts, extra=extra)
    if data is not None:
        original = io.load(a)
        samples = common.samples(data, original)
        found = measure(
            original,
            io.load(b),
            samples,
            layers,
            config=common.config,
            batch_size=common.batch_size or 8,
            output=common.output,
            progress=common.progress,
        )
        extra["comparison"] = found.as_json()
        result.data["confirm"] = samples.as_json()
        result.warnings = list(samples.warnings)
        if save_changed is not None and found.changed.indices:
            write(save_changed, found.changed.arrays(samples.labels))
    return result


def _check_target(path: str, common: Common) -> None:
    if not path.lower().endswith(".npz"):
        raise UsageError(f"--save-changed {path}: expected a file called .npz")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise UsageError(f"--save-changed {path}: there is no such folder")
    if os.path.lexists(path) and not common.force:
        raise UsageError(f"--save-changed {path}: exists already", hint="--force overwrites it")
