"""Steps by name, and the data they need."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.validation.gates import Gates
from tests.support.digits_task import MODEL

STATIC = Recipe((make_step("simplify"), make_step("quantize", placement="static")), Gates(max_drop=0.01))


def test_a_step_that_needs_data_says_how_to_give_some() -> None:
    with pytest.raises(UsageError, match="quantize needs data") as caught:
        run_recipe(MODEL, STATIC, time_it=False)
    assert "--data" in str(caught.value.hint)
