"""Steps by name, and the data they need."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.pipeline.recipe import Recipe, Step, make_step, parse
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.validation.gates import Gates
from tests.support.digits_task import MODEL

STATIC = Recipe((make_step("simplify"), make_step("quantize", placement="static")), Gates(max_drop=0.01))


def test_a_step_that_needs_data_says_how_to_give_some() -> None:
    with pytest.raises(UsageError, match="quantize needs data") as caught:
        run_recipe(MODEL, STATIC, time_it=False)
    assert "--data" in str(caught.value.hint)


@pytest.mark.parametrize(("of_step", "expected"), [({}, 5), ({"seed": 3}, 3)])
def test_the_seed_of_a_recipe_is_that_of_steps_that_name_none(of_step: dict[str, int], expected: int) -> None:
    prune = make_step("prune", remove=0.2, of="params", round_to=1, criterion="random", **of_step)
    result = run_recipe(MODEL, Recipe((prune,), seed=5), time_it=False)
    assert result.recipe is not None
    (step,) = parse(result.recipe).steps
    assert isinstance(step, Step)
    assert step.options.seed == expected
