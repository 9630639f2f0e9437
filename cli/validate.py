"""``onnxslim validate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from onnxslim import io
from onnxslim.compatibility import check_loads_in, oldest_runtime
from onnxslim.report.text import clean
from onnxslim.result import Result, facts
from onnxslim.runtime.session import check, version

from . import options
from .command import command
from .common import Common
from .params import MODEL


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """One line: what is wrong is an error and never gets here."""
    loads = f"loads in onnxruntime {report['runtime']} (and from {report['oldest_runtime']} on)"
    return Text(f"{clean(report['input']['path'])}: valid ONNX, {loads}")


@command("validate", show=show)
@click.argument("model", metavar="MODEL", type=MODEL)
@options.for_ort
def validate(common: Common, model: str, for_ort: str | None) -> Result:
    """Exit 0 when MODEL is valid, safe, and loads in the runtime; 3 or 4 with the reason when not."""
    loaded = io.load(model)
    check(loaded, common.config)
    if for_ort is not None:
        check_loads_in(loaded, for_ort)
    extra = {"runtime": version(), "oldest_runtime": oldest_runtime(loaded)}
    return Result("validate", input=facts(loaded, model, common.dim), extra=extra)
