"""What is summed while samples go by."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from onnxslim.core.errors import InvalidModelError
from onnxslim.data.sources import open_samples
from onnxslim.validation.evaluation import evaluate
from tests.support.judged import labelled
from tests.support.node_graphs import FLOAT, build, two_outputs

RNG = np.random.default_rng(0)
EYE = np.eye(10)


def test_the_json_is_the_contracts(linear: Any) -> None:
    model = linear(EYE)
    entry = evaluate(model, labelled(model), reference=model).as_json()
    assert set(entry) == {"metrics", "outputs", "judged"}
    assert set(entry["metrics"][0]) >= {"name", "original", "result", "drop", "interval", "n"}
    assert set(entry["outputs"]["scores"]) >= {"sqnr_db", "cosine", "kl"}
    assert entry["outputs"]["scores"]["equal"]
    (kind,) = entry["judged"].pop("kinds")
    assert (kind["outputs"], kind["kind"], kind["gates"]) == (["scores"], "class scores", ["top1"])
    assert entry["judged"] == {"output": "scores", "disagreeing": []}


def boxes() -> ir.Model:
    """As many rows as x has values above zero: another number for every sample."""
    return build(
        [
            helper.make_node("Greater", ["x", "zero"], ["above"]),
            helper.make_node("NonZero", ["above"], ["where"]),
            helper.make_node("Transpose", ["where"], ["index"], perm=[1, 0]),
            helper.make_node("GatherND", ["x", "index"], ["kept"]),
            helper.make_node("Unsqueeze", ["kept", "one"], ["boxes"]),
        ],
        {"x": (FLOAT, [1, 10])},
        {"boxes": (FLOAT, ["found", 1])},
        {"zero": np.float32(0), "one": np.array([1])},
    )


def test_outputs_of_varying_length_are_judged_where_they_match_and_counted_where_not(linear: Any) -> None:
    model = boxes()
    x = RNG.normal(size=(12, 10)).astype(np.float32)
    found = evaluate(model, open_samples(x, model), reference=model)
    assert (found.metric.name, found.metric.result) == ("variance", 1.0)

    def count(outputs: list[np.ndarray], labels: None) -> float:
        return float(np.mean([len(sample) for sample in outputs]))

    counted = evaluate(model, open_samples(x, model), reference=model, metric=count)
    assert counted.metric.result == pytest.approx((x > 0).sum(axis=1).mean())


def test_a_lost_output_is_an_error_that_names_it(linear: Any) -> None:
    with pytest.raises(InvalidModelError, match="no output label"):
        evaluate(linear(EYE), labelled(linear(EYE)), reference=two_outputs())
