"""``onnxslim simplify``."""

from __future__ import annotations

import click

from onnxslim.pipeline.result import Result

from ..command import command
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL_OR_FOLDER, SIZE
from ..step_command import run_step


@command("simplify", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL_OR_FOLDER)
@shared_options.suffix
@click.option("--max-fold-bytes", type=SIZE, metavar="B", help="How much folding constants may add to the file (2 %).")
@shared_options.data
@shared_options.for_ort
@shared_options.keep_initializer_inputs
@shared_options.on
def simplify(
    common: CommonOptions,
    *,
    model: str,
    max_fold_bytes: int | None,
    data: str | None,
    for_ort: str | None,
    keep_initializer_inputs: bool,
) -> Result:
    """Fewer nodes that compute the same, to float rounding; never a larger file.

    With --data the result is judged against the original on those samples.
    """
    return run_step(
        common, "simplify", model, {"max_fold_bytes": max_fold_bytes}, eval_data=data, for_ort=for_ort,
        keep_initializer_inputs=keep_initializer_inputs, time_it=False,
    )  # fmt: skip
