"""``onnxslim validate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.graph.runtime_versions import check_loads_in, oldest_runtime
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.reporting.evidence import describe_kinds
from onnxslim.reporting.text import clean
from onnxslim.runtime.load_check import check_file_loads
from onnxslim.runtime.session import version
from onnxslim.validation.output_kinds.recognition import recognize_outputs

from ..command import command
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL_OR_FOLDER


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """One line, and one for each output where there are data: what is wrong is an error and never gets here."""
    loads = f"loads in onnxruntime {report['runtime']} (and from {report['oldest_runtime']} on)"
    kinds = describe_kinds(report.get("judged", {}).get("kinds", []), explain=explain)
    return Group(Text(f"{clean(report['input']['path'])}: valid ONNX, {loads}"), *(Text(line, "dim") for line in kinds))


@command("validate", show=show)
@click.argument("model", metavar="MODEL", type=MODEL_OR_FOLDER)
@shared_options.for_ort
@shared_options.data
def validate(common: CommonOptions, model: str, for_ort: str | None, data: str | None) -> Result:
    """Exit 0 when MODEL is valid, safe, and loads in the runtime; 3 or 4 with the reason when not.

    Of a folder every ONNX file is looked at, and what configuration files say of it. With --data it is run, and what
    each of its outputs would be judged by is told.
    """
    loaded = model_file.load(model)
    check_file_loads(model, common.config)
    if for_ort is not None:
        check_loads_in(loaded, for_ort)
    extra: dict[str, Any] = {"runtime": version(), "oldest_runtime": oldest_runtime(loaded)}
    if data is not None:
        samples, judge = common.open_samples(data, loaded), common.evaluation_options
        metric = judge.metric if isinstance(judge.metric, str) else None
        kinds = recognize_outputs(
            loaded, samples, config=common.config, metric=metric, output=judge.output, labels=samples.labels, dims=common.dim
        )
        extra["judged"] = {"kinds": [kind.weigh_labels("alone").as_json() for kind in kinds]}
    return Result("validate", input=compute_facts(loaded, model, common.dim), extra=extra)
