"""``onnxslim optimize``, the main job."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from onnxslim import recipe as recipes
from onnxslim.errors import UsageError
from onnxslim.optimize import optimize as search
from onnxslim.recipe import Recipe
from onnxslim.result import Result
from onnxslim.validate.gates import Gates

from . import options
from .command import command
from .common import Common
from .params import DURATION, MODEL, SHARE, SIZE

#: What ``--max-drop`` is when neither the command line nor the recipe says.
DEFAULT_DROP = 0.01


@command("optimize", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL)
@options.data
@options.eval_data
@click.option("--max-drop", type=SHARE, metavar="1%", help="How much the judged metric may drop (1%).")
@click.option("--min-speedup", type=click.FloatRange(0, min_open=True), metavar="R", help="Times faster, at least.")
@click.option("--max-size", type=SIZE, metavar="B", help="Bytes on disk, at most.")
@options.for_ort
@click.option("--budget", type=DURATION, default="10m", show_default=True, metavar="T", help="How long to search.")
@click.option(
    "--recipe",
    metavar="R",
    help=f"Do exactly this: a YAML file, an output of ours, or {', '.join(recipes.PRESETS)}.",
)
@click.option("--placement", type=click.Choice(["measured", "static"]), default="measured", show_default=True,
              help="Choose int8 layers by timing them, or by a table that gives the same bytes anywhere.")  # fmt: skip
def optimize(
    common: Common,
    model: str,
    data: str | None,
    eval_data: str | None,
    max_drop: float | None,
    min_speedup: float | None,
    max_size: int | None,
    for_ort: str | None,
    budget: float,
    recipe: str | None,
    placement: str,
) -> Result:
    """The smallest, fastest model that is still right: search, judge, and write the best that passes.

    Without --eval-data a seeded share of --data is held back to judge by.
    """
    if data is None:
        raise UsageError("no data given", hint=f"--data: {options.DATA_HELP}")
    chosen = recipes.load(recipe) if recipe is not None else None
    if max_drop is None and (chosen is None or chosen.gates.max_drop is None):
        max_drop = DEFAULT_DROP
    gates = {"max_drop": max_drop, "min_speedup": min_speedup, "max_size": max_size, "for_ort": for_ort}
    if common.dry_run:
        return Result("optimize", recipe=_plan(chosen, placement, common.seed, gates))
    return search(
        model,
        data=data,
        eval_data=eval_data,
        recipe=chosen,
        **gates,  # type: ignore[arg-type]
        budget=budget,
        placement=placement,
        seed=common.seed,
        config=common.config,
        read=common.read,
        judge=common.judge,
        progress=common.progress,
    )


def _plan(chosen: Recipe | None, placement: str, seed: int, gates: dict[str, Any]) -> str:
    """The recipe, or those that would be tried, as YAML documents."""
    if chosen is not None:
        given = {name: value for name, value in gates.items() if value is not None}
        return dataclasses.replace(chosen, gates=dataclasses.replace(chosen.gates, **given)).text()
    return "".join(
        f"--- # candidate {name}\n{Recipe(steps, Gates(**gates), seed).text()}"
        for name, steps in recipes.candidates(placement).items()
    )
