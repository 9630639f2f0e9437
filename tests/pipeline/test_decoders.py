"""A decoder with a cache through a whole command: texts in, steps and prompts judged and timed apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.runtime.session import Session
from tests.support.decoders import WIDTH, make_decoder, make_texts
from tests.support.static_decoders import make_static_decoder

STEPS: dict[str, list[Any]] = {
    "simplify": [make_step("simplify")],
    "int8 weights": [make_step("simplify"), make_step("quantize", weights="int8", placement="static")],
    "int8": [make_step("simplify"), make_step("quantize", placement="static")],
}


@pytest.mark.parametrize("variant", [{}, {"merged": True, "cross": True, "mask": True}, {"static": True}], ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_a_decoder_is_changed_and_judged_by_texts(variant: dict[str, Any], name: str) -> None:
    rng = np.random.default_rng(2)
    texts: list[dict[str, np.ndarray]] = [{"input_ids": text} for text in make_texts(*range(6, 18))]
    if variant.get("cross"):
        texts = [text | {"encoder_hidden_states": rng.standard_normal((5, WIDTH)).astype(np.float32)} for text in texts]
    model = make_static_decoder(mask="float") if variant.get("static") else make_decoder(**variant)
    result = run_recipe(model, Recipe(tuple(STEPS[name])), data=texts, read=DataOptions(state="auto"))
    assert result.evaluation is not None
    assert result.latency is not None
    assert result.model is not None
    assert (result.latency["of"], result.latency["prompt"]["of"]) == ("step", "prompt")
    found = {metric.name: metric.result for metric in result.evaluation.metrics}
    assert found["perplexity"] > 1
    assert found["continuations"] >= (1 if name == "simplify" else 0)
    assert result.data["confirm"]["sequences"] == 3
    assert Session(result.model).inputs == Session(model).inputs
    if name == "simplify":
        assert result.evaluation.outputs["logits"].sqnr_db > 80
