"""``onnxslim quantize``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.core.workers import open_workers
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.result import Result
from onnxslim.quantization.calibration.range_methods import METHOD_SPELLINGS
from onnxslim.quantization.options import ACTIVATION_MODES, LINEAR_FORMATS, PLACEMENTS
from onnxslim.quantization.targets.registry import TARGETS

from ..command import command
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL_OR_FOLDER, NUMBER, SIZE
from ..step_command import run_step


@command("quantize", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL_OR_FOLDER)
@shared_options.suffix
@shared_options.data
@shared_options.eval_data
@shared_options.max_drop
@shared_options.for_ort
@shared_options.keep_initializer_inputs
@click.option("--target", type=click.Choice(list(TARGETS)), help="What the model will run on (this machine).")
@click.option(
    "--activations",
    type=click.Choice(ACTIVATION_MODES),
    help="Ranges fixed by calibration, or taken from each input (whichever the model gains by).",
)
@click.option(
    "--weights",
    metavar="W",
    help="Weights only: int8, int4, either with :qdq (standard ops), codebook:K, float16, or mixed: bits for each.",
)
@click.option("--max-size", type=SIZE, metavar="B", help="With --weights mixed: bytes on disk, at most; else by --max-drop.")
@click.option(
    "--linear",
    type=click.Choice(LINEAR_FORMATS),
    help="int4: large linear layers that see one row, as classifiers end in, get 4-bit weights; beside static int8 (int8).",
)
@click.option("--calibration", metavar="C", help=f"{', '.join(METHOD_SPELLINGS)} (auto).")
@click.option("--placement", type=click.Choice(PLACEMENTS), help="How to choose the layers (measured).")
@click.option("--min-sqnr", type=NUMBER, metavar="DB", help="What every output keeps, or layers stay float (20).")
@click.option(
    "--statistics",
    multiple=True,
    metavar="F",
    help="An .npz that keeps calibration's statistics; an interrupted run goes on. Further ones are added, of other parts.",
)
@click.option("--exclude", multiple=True, metavar="REGEX", help="Nodes that stay float.")
@shared_options.workers("Shards calibrated")
@shared_options.on
def quantize(
    common: CommonOptions,
    *,
    model: str,
    data: str | None,
    eval_data: str | None,
    max_drop: float | None,
    for_ort: str | None,
    keep_initializer_inputs: bool,
    backend: str | None,
    jobs: int | None,
    **step_options: Any,
) -> Result:
    """Int8 weights and activations, calibrated on data, placed where the runtime gains by them; IN is simplified first.

    Transformers get linear layers whose inputs are quantised as they come. --weights stores weights alone in fewer bits;
    --target cuda writes float16.
    """
    step_options["max_memory"] = common.max_memory
    with open_workers(backend, jobs):
        return run_step(
            common, "quantize", model, step_options,
            data=data, eval_data=eval_data, max_drop=max_drop, for_ort=for_ort,
            keep_initializer_inputs=keep_initializer_inputs, before=[recipes.make_step("simplify")],
        )  # fmt: skip
