"""``onnxslim validate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from onnxslim.graph.runtime_versions import check_loads_in, oldest_runtime
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.reporting.text import clean
from onnxslim.runtime.load_check import check_file_loads
from onnxslim.runtime.session import version

from ..command import command
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """One line: what is wrong is an error and never gets here."""
    loads = f"loads in onnxruntime {report['runtime']} (and from {report['oldest_runtime']} on)"
    return Text(f"{clean(report['input']['path'])}: valid ONNX, {loads}")


@command("validate", show=show)
@click.argument("model", metavar="MODEL", type=MODEL)
@shared_options.for_ort
def validate(common: CommonOptions, model: str, for_ort: str | None) -> Result:
    """Exit 0 when MODEL is valid, safe, and loads in the runtime; 3 or 4 with the reason when not."""
    loaded = model_file.load(model)
    check_file_loads(model, common.config)
    if for_ort is not None:
        check_loads_in(loaded, for_ort)
    extra = {"runtime": version(), "oldest_runtime": oldest_runtime(loaded)}
    return Result("validate", input=compute_facts(loaded, model, common.dim), extra=extra)
