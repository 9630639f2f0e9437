"""``onnxslim optimize``, the main job."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from onnxslim import recipe as recipes
from onnxslim.errors import UsageError
from onnxslim.optimize import optimize as search
from onnxslim.optimize import resolve
from onnxslim.recipe import Recipe
from onnxslim.result import Result
from onnxslim.runtime.session import SessionConfig

from . import options
from .command import command
from .common import Common
from .params import DURATION, MODEL, SHARE, SIZE

_RATIO: dict[str, Any] = {"type": click.FloatRange(0, min_open=True), "metavar": "R"}


@command("optimize", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL)
@options.data
@options.eval_data
@click.option("--max-drop", type=SHARE, metavar="1%", help="How much the judged metric may drop (1%).")
@click.option("--min-agreement", type=SHARE, metavar="99%", help="Answers that must stay the original's.")
@click.option("--max-size", type=SIZE, metavar="B", help="Bytes on disk, at most.")
@click.option("--min-ratio", **_RATIO, help="Times smaller, at least.")
@click.option("--max-latency", type=DURATION, metavar="T", help="Median time of an inference, at most: 0.005s.")
@click.option("--min-speedup", **_RATIO, help="Times faster, at least.")
@click.option("--strict", is_flag=True, help="Judge by the bad end of the 95 % intervals.")
@options.for_ort
@click.option("--budget", type=DURATION, default="10m", show_default=True, metavar="T", help="How long to search.")
@click.option(
    "--recipe",
    metavar="R",
    default="balanced",
    show_default=True,
    help=f"A YAML file, an output of ours, or {', '.join(recipes.PRESETS)}.",
)
@click.option("--study", metavar="DIR", help="Keep every trial and its model here; go on where a search stopped.")
@options.workers("Trials begun")
@click.option("--placement", type=click.Choice(["measured", "static"]), default="measured", show_default=True,
              help="Choose int8 layers by timing them, or by a table that gives the same bytes anywhere.")  # fmt: skip
def optimize(
    common: Common,
    model: str,
    data: str | None,
    eval_data: str | None,
    recipe: str,
    budget: float,
    study: str | None,
    backend: str | None,
    jobs: int | None,
    placement: str,
    **gates: Any,
) -> Result:
    """The smallest, fastest model that is still right: search, judge, and write the best that passes.

    Without --eval-data a seeded share of --data is held back to judge by.
    """
    chosen = resolve(recipe, gates | {"strict": gates["strict"] or None}, placement, common.seed or None)
    if data is None and chosen.data is None:
        raise UsageError("no data given", hint=f"--data: {options.DATA_HELP}")
    if common.dry_run:
        return Result("optimize", recipe=chosen.text())
    return search(
        model,
        data=data,
        eval_data=eval_data,
        recipe=chosen,
        budget=budget,
        placement=placement,
        study=study,
        backend=backend,
        jobs=jobs,
        config=_config(common, chosen),
        read=common.read,
        judge=common.judge,
        progress=common.progress,
    )


def _config(common: Common, chosen: Recipe) -> SessionConfig:
    """Where it runs: as the command line says, on the recipe's provider where it says nothing."""
    provider = common.provider if common.provider != "cpu" else chosen.provider or "cpu"
    return dataclasses.replace(common.config, provider=provider)
