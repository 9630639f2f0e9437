"""``onnxslim simplify``."""

from __future__ import annotations

import click

from onnxslim.result import Result

from . import options
from .command import command
from .common import Common
from .params import MODEL, SIZE
from .steps import run_step


@command("simplify", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL)
@click.option("--max-fold-bytes", type=SIZE, metavar="B", help="How much folding constants may add to the file (2 %).")
@options.data
@options.for_ort
def simplify(common: Common, model: str, max_fold_bytes: int | None, data: str | None, for_ort: str | None) -> Result:
    """Fewer nodes that compute the same, to float rounding; never a larger file.

    With --data the result is judged against the original on those samples.
    """
    return run_step(
        common, "simplify", model, {"max_fold_bytes": max_fold_bytes}, eval_data=data, for_ort=for_ort, time_it=False
    )
