"""``onnxslim recover``."""

from __future__ import annotations

from typing import Any

import click

from onnxslim.pipeline.result import Result
from onnxslim.recovery.options import AUGMENTATIONS

from ..command import command
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import DURATION, MODEL, NUMBER, POSITIVE, NamesType
from ..step_command import run_step


@command("recover", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL)
@click.option("--teacher", type=MODEL, required=True, metavar="ORIGINAL", help="The model that IN was made from.")
@shared_options.data
@shared_options.eval_data
@shared_options.max_drop
@shared_options.for_ort
@shared_options.keep_initializer_inputs
@click.option("--budget", "seconds", type=DURATION, metavar="15m", help="How long to train (15m).")
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    help="Instead: how many updates; the same bytes each time.",
)
@click.option("--epochs", type=POSITIVE, metavar="N", help="Instead: how often all samples are seen.")
@click.option("--batch-size", "samples", type=click.IntRange(1), metavar="N", help="Samples an update (32).")
@click.option(
    "--lr",
    type=POSITIVE,
    metavar="R",
    help="Peak rate, as a share of each weight's own size (0.003; int8 0.0003; less if that gains nothing).",
)
@click.option("--weight-decay", type=NUMBER, metavar="D", help="Decoupled decay of matrices and kernels (0).")
@click.option(
    "--augment",
    type=NamesType(AUGMENTATIONS),
    metavar="A,B",
    help="How images are changed: flip, crop, noise, mixup, or none (flip,crop; crop with labels).",
)
@shared_options.on
@click.option("--checkpoint", metavar="F", help="A file that keeps the state; an interrupted training goes on from it.")
def recover(
    common: CommonOptions,
    *,
    model: str,
    teacher: str,
    data: str | None,
    eval_data: str | None,
    max_drop: float | None,
    for_ort: str | None,
    keep_initializer_inputs: bool,
    samples: int | None,
    **step_options: Any,
) -> Result:
    """Win back what compression lost: IN learns to answer as ORIGINAL does. Needs the extra torch.

    No labels are needed: ORIGINAL answers for every sample. A quantised IN learns through its own Q/DQ nodes and keeps
    them. Unless samples held back prove that it answers nearer to ORIGINAL, IN is written as it was, and that is said.
    """
    return run_step(
        common, "recover", model, step_options | {"batch_size": samples},
        original=teacher, data=data, eval_data=eval_data, max_drop=max_drop, for_ort=for_ort,
        keep_initializer_inputs=keep_initializer_inputs,
    )  # fmt: skip
