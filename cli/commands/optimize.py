"""``onnxslim optimize``, the main job."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from onnxslim.core.errors import UsageError
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.result import Result
from onnxslim.quantization.options import PLACEMENTS
from onnxslim.runtime.session import SessionConfig
from onnxslim.search.optimization import optimize as search
from onnxslim.search.optimization import resolve_recipe

from ..command import command
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import DROP, DURATION, MODEL_OR_FOLDER, POSITIVE, SHARE, SIZE

_RATIO_TYPE: dict[str, Any] = {"type": POSITIVE, "metavar": "R"}


@command("optimize", makes_model=True, recipe=True)
@click.argument("model", metavar="IN", type=MODEL_OR_FOLDER)
@shared_options.suffix
@shared_options.data
@shared_options.eval_data
@click.option("--max-drop", type=DROP, metavar="1%", help="How many points each judged metric may drop (1%).")
@click.option("--min-agreement", type=SHARE, metavar="99%", help="Answers that must stay the original's.")
@click.option("--max-size", type=SIZE, metavar="B", help="Bytes on disk, at most.")
@click.option("--min-ratio", **_RATIO_TYPE, help="Times smaller, at least.")
@click.option("--max-latency", type=DURATION, metavar="T", help="Median time of an inference, of a decoder a step, at most.")
@click.option("--max-prompt-latency", type=DURATION, metavar="T", help="Median time of a decoder's prompt, at most.")
@click.option("--min-speedup", **_RATIO_TYPE, help="Times faster, at least.")
@click.option("--strict", is_flag=True, help="Judge by the bad end of the 95 % intervals.")
@shared_options.for_ort
@shared_options.keep_initializer_inputs
@click.option("--budget", type=DURATION, metavar="T", help="How long to search (10m), or a recipe's steps may take.")
@click.option(
    "--recipe",
    metavar="R",
    default="balanced",
    show_default=True,
    help=f"A YAML file, an output of ours, or {', '.join(recipes.PRESETS)}.",
)
@click.option("--study", metavar="DIR", help="Keep every trial and its model here; go on where a search stopped.")
@shared_options.workers("Trials begun")
@shared_options.on
@click.option("--placement", type=click.Choice(PLACEMENTS), default="measured", show_default=True,
              help="Choose int8 layers by timing them, or by a table that gives the same bytes anywhere.")  # fmt: skip
def optimize(
    common: CommonOptions,
    *,
    model: str,
    data: str | None,
    eval_data: str | None,
    recipe: str,
    budget: float | None,
    study: str | None,
    backend: str | None,
    jobs: int | None,
    placement: str,
    keep_initializer_inputs: bool,
    **gates: Any,
) -> Result:
    """The smallest, fastest model that is still right: search, judge, and write the best that passes.

    Without --eval-data a seeded share of --data is held back to judge by.
    """
    seed = common.seed if _was_given("seed") else None
    resolved = resolve_recipe(
        recipe, gates | {"strict": gates["strict"] or None}, placement, seed,
        keep_initializer_inputs=keep_initializer_inputs,
    )  # fmt: skip
    if data is None and resolved.data is None:
        raise UsageError("no data given", hint=f"--data: {shared_options.DATA_HELP}")
    if common.dry_run:
        return Result("optimize", recipe=resolved.to_yaml())
    return search(
        model,
        data=data,
        eval_data=eval_data,
        recipe=resolved,
        budget=budget,
        placement=placement,
        study=study,
        backend=backend,
        jobs=jobs,
        config=_make_config(common, resolved),
        read=common.data_options,
        judge=common.evaluation_options,
        progress=common.progress,
    )


def _make_config(common: CommonOptions, resolved: Recipe) -> SessionConfig:
    """Where it runs: as the command line says, on the recipe's provider where it says nothing."""
    provider = common.provider if _was_given("provider") else resolved.provider or common.provider
    return common.config.with_(provider=provider)


def _was_given(parameter: str) -> bool:
    """Whether the command line says it: then it comes before what a recipe says, even where it says the default."""
    return click.get_current_context().get_parameter_source(parameter) is not ParameterSource.DEFAULT
