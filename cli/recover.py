"""``onnxslim recover``."""

from __future__ import annotations

import click

from onnxslim.result import Result

from . import options
from .command import command
from .common import Common
from .params import DURATION, MODEL
from .steps import run_step


@command("recover", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL)
@click.option("--teacher", type=MODEL, required=True, metavar="ORIGINAL", help="The model that IN was made from.")
@options.data
@options.eval_data
@options.max_drop
@options.for_ort
@click.option("--budget", "seconds", type=DURATION, metavar="15m", help="How long to train (15m).")
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    help="Instead: how many updates; the same bytes each time.",
)
def recover(
    common: Common,
    model: str,
    teacher: str,
    data: str | None,
    eval_data: str | None,
    max_drop: float | None,
    for_ort: str | None,
    seconds: float | None,
    steps: int | None,
) -> Result:
    """Win back what compression lost: IN learns to answer as ORIGINAL does. Needs the extra torch."""
    chosen = {"seconds": seconds, "steps": steps}
    return run_step(
        common,
        "recover",
        model,
        chosen,
        original=teacher,
        data=data,
        eval_data=eval_data,
        max_drop=max_drop,
        for_ort=for_ort,
    )
