"""``onnxslim prune``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from onnxslim.activations.run_context import DATA_HINT
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.workers import open_workers
from onnxslim.pipeline.recipe import make_step
from onnxslim.pipeline.result import Result
from onnxslim.pruning.importance.criteria import CRITERIA
from onnxslim.pruning.options import BUDGET_METRICS, PruneOptions
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.providers import parse_provider
from onnxslim.runtime.session_config import available_providers

from ..command import command
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import MODEL, MULTIPLE, SHARE, SIZE, SPARSITY
from ..step_command import run_step

#: The rule of the simplifier that folds BatchNormalization away.
BATCHNORM_RULE = "conv+batchnorm"


@command("prune", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL)
@shared_options.data
@shared_options.eval_data
@shared_options.max_drop
@shared_options.for_ort
@shared_options.keep_initializer_inputs
@click.option("--remove", type=SHARE, metavar="30%", help="How much to remove of the time, or of what --of says.")
@click.option(
    "--of",
    type=click.Choice(BUDGET_METRICS),
    help="What --remove counts (latency, measured here; of what is too small for the clock, params; named, params or macs "
    "may also make it slower, which is said).",
)
@click.option("--max-size", type=SIZE, metavar="B", help="Instead: remove until the file is no larger.")
@click.option(
    "--threshold",
    type=SHARE,
    metavar="5%",
    help="Instead: remove what matters less than this, against the best.",
)
@click.option(
    "--redundancy",
    type=SHARE,
    metavar="1%",
    help="Instead: remove as long as readers lose no more, once repaired.",
)
@click.option("--criterion", type=click.Choice(list(CRITERIA)), help="What ranks channels (obs).")
@click.option(
    "--round-to",
    type=MULTIPLE,
    metavar="N",
    help="Keep a multiple of N channels; auto makes no cut that saves no time here, 1 any cut (auto).",
)
@click.option(
    "--sparsity",
    type=SPARSITY,
    metavar="50%|2:4",
    help="Weights to set to zero too, or instead; 50%:1x4 in tiles, <0.001 by magnitude.",
)
@click.option("--low-rank", is_flag=True, default=None, help="Put layers into cheaper forms too, where that does less harm.")
@click.option("--rounds", type=click.IntRange(1), metavar="N", help="Prune in N steps, repairing after each (1).")
@click.option("--uniform", is_flag=True, default=None, help="Take the same share of every layer, for comparison.")
@click.option("--min-layer-params", type=click.IntRange(0), metavar="N", help="Leave smaller layers alone.")
@click.option("--exclude", multiple=True, metavar="REGEX", help="Nodes to leave alone.")
@shared_options.workers("Candidates tried")
@shared_options.on
def prune(
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
    """Channels that matter least go, and what stays is repaired by least squares; no labels, no training.

    The result is timed before it is written. With --data random, units are ranked by their weights and nothing is repaired.
    """
    asked = PruneOptions(**{name: value for name, value in step_options.items() if value is not None})
    if asked.channels and data is None and not common.dry_run:
        raise UsageError("prune needs data: without any, nothing says which channels matter", hint=DATA_HINT)
    is_timed = asked.channels and asked.of not in ("params", "macs") and asked.max_size is None
    absent = _find_absent_provider(common)
    if absent is not None:
        if asked.counts_time:
            raise UnsupportedError(absent.message, hint=f"{absent.hint}; or --of params or macs, which only count")
        common = replace(common, provider="cpu", provider_option={})
        if step_options["round_to"] in (None, "auto"):  # which asks the clock
            step_options["round_to"] = 1
    reads_batchnorm = step_options["criterion"] == "bn"  # read before they are folded
    before = [make_step("simplify", **({"skip": (BATCHNORM_RULE,)} if reads_batchnorm else {}))]
    after = [make_step("simplify")] if reads_batchnorm else []
    with open_workers(backend, jobs):
        result = run_step(
            common,
            "prune",
            model,
            step_options,
            data=data,
            eval_data=eval_data,
            max_drop=max_drop,
            for_ort=for_ort,
            keep_initializer_inputs=keep_initializer_inputs,
            before=before,
            after=after,
            time_it=absent is None,
            if_slower="refuse" if is_timed else "tell",
        )
    if absent is not None:
        done = "observed on the CPU provider, cut by count alone, and not timed" if asked.channels else "not timed"
        result.warnings.append(f"{absent.message}: {done}")
    return result


def _find_absent_provider(common: CommonOptions) -> UnsupportedError | None:
    """Why sessions cannot be had of the provider that was asked for, neither here nor on a device."""
    if current_device() is not None:
        return None
    try:
        parse_provider(common.provider, available_providers())
    except UnsupportedError as error:
        return error
    return None
