"""Commands that are one step: a recipe of that step alone, run and judged as any recipe is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxslim.pipeline.recipe import Recipe, Step
from onnxslim.pipeline.recipe_run import IfSlower, run_recipe
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.step_registry import STEP_REGISTRY
from onnxslim.validation.gates import Gates

from .options.common_options import CommonOptions


def run_step(
    common: CommonOptions,
    name: str,
    model: str,
    options: dict[str, Any],
    *,
    original: str | None = None,
    data: str | None = None,
    eval_data: str | None = None,
    max_drop: float | None = None,
    for_ort: str | None = None,
    keep_initializer_inputs: bool = False,
    time_it: bool = True,
    if_slower: IfSlower = "warn",
    before: Sequence[Step] = (),
    after: Sequence[Step] = (),
) -> Result:
    """Run the step ``name`` on ``model`` with those of ``options`` that were given; a dry run only writes the recipe.

    The result is judged against ``original``, by default ``model`` itself; ``before`` and ``after`` are steps around it,
    ``if_slower`` is what :func:`~onnxslim.pipeline.recipe_run.run_recipe` does with a result that is slower.

    Raises:
        OnnxslimError: Whatever the step, the data or a gate raises.
    """
    options_class = STEP_REGISTRY[name].options_class
    option_fields = options_class.__dataclass_fields__
    # a flag that may be given several times and was not is (), which says something only where that is no default
    given_options = {k: v for k, v in options.items() if v is not None and not (v == () and option_fields[k].default == ())}
    if common.seed and "seed" in option_fields:
        given_options["seed"] = common.seed
    steps = (*before, Step(name, options_class(**given_options)), *after)
    recipe = Recipe(
        steps, Gates(max_drop=max_drop, for_ort=for_ort), common.seed,
        keep_initializer_inputs=keep_initializer_inputs,
    )  # fmt: skip
    if common.dry_run:
        return Result(name, recipe=recipe.to_yaml())
    return run_recipe(
        original or model,
        recipe,
        start=None if original is None else model,
        data=data,
        eval_data=eval_data,
        command=name,
        config=common.config,
        read=common.data_options,
        judge=common.evaluation_options,
        time_it=time_it,
        if_slower=if_slower,
        progress=common.progress,
    )
