"""Commands that are one step: a recipe of that step alone, run and judged as any recipe is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxslim import recipe as recipes
from onnxslim.execute import run
from onnxslim.kinds import KINDS
from onnxslim.recipe import Recipe, Step
from onnxslim.result import Result
from onnxslim.validate.gates import Gates

from .common import Common


def run_step(
    common: Common,
    name: str,
    model: str,
    options: dict[str, Any],
    *,
    original: str | None = None,
    data: str | None = None,
    eval_data: str | None = None,
    max_drop: float | None = None,
    for_ort: str | None = None,
    time_it: bool = True,
    before: Sequence[Step] = (),
    after: Sequence[Step] = (),
) -> Result:
    """Run the step ``name`` on ``model`` with those of ``options`` that were given; a dry run only writes the recipe.

    The result is judged against ``original``, by default ``model`` itself; ``before`` and ``after`` are steps around it.

    Raises:
        OnnxslimError: Whatever the step, the data or a gate raises.
    """
    known = KINDS[name].options.__dataclass_fields__
    # a flag that may be given several times and was not is (), which says something only where that is no default
    given = {k: v for k, v in options.items() if v is not None and not (v == () and known[k].default == ())}
    if common.seed and "seed" in known:
        given["seed"] = common.seed
    recipe = Recipe((*before, recipes.step(name, **given), *after), Gates(max_drop=max_drop, for_ort=for_ort), common.seed)
    if common.dry_run:
        return Result(name, recipe=recipe.text())
    return run(
        original or model,
        recipe,
        start=None if original is None else model,
        data=data,
        eval_data=eval_data,
        command=name,
        config=common.config,
        read=common.read,
        judge=common.judge,
        time_it=time_it,
        progress=common.progress,
    )
