"""Which output is judged, and by which metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.validation.evaluation import evaluate
from onnxslim.validation.output_selection import pick_output
from tests.support.judged import labelled, scores
from tests.support.node_graphs import FLOAT, build, two_outputs

RNG = np.random.default_rng(0)
EYE = np.eye(10)


def test_the_first_float_output_of_shape_n_c_is_judged_and_another_where_it_is_named() -> None:
    model = two_outputs()
    samples = labelled(model)
    assert evaluate(model, samples, reference=model).output == "scores"
    by_label = evaluate(model, samples, reference=model, output="label")
    assert [metric.name for metric in by_label.metrics] == ["top1", "agreement"]
    assert by_label.metric.result == np.mean(scores(samples, EYE).argmax(1) == samples.labels)
    by_sum = evaluate(model, samples, reference=model, output="sum")
    assert [metric.name for metric in by_sum.metrics] == ["relative"]
    assert any("labels" in warning and "--metric" in warning for warning in by_sum.warnings)
    with pytest.raises(UsageError, match="--output nope") as caught:
        evaluate(model, samples, reference=model, output="nope")
    assert "label, sum, scores" in caught.value.hint


def test_scores_of_one_class_are_not_argmaxed() -> None:
    assert pick_output({"p": np.zeros((4, 1), np.float32), "q": np.zeros((4, 2), np.float32)}, 4) == "q"
    assert pick_output({"p": np.zeros((4, 1), np.float32)}, 4) == "p"
    assert pick_output({"i": np.zeros(4, int)}, 4) == "i"


def test_sequences_are_refused_and_a_tensor_beside_them_can_be_named() -> None:
    model = build(
        [
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
            helper.make_node("SequenceConstruct", ["x"], ["p"]),
        ],
        {"x": (FLOAT, ["batch", 10])},
        {"label": (TensorProto.INT64, ["batch"]), "p": helper.make_tensor_sequence_value_info("p", FLOAT, None)},
    )
    samples = labelled(model)
    with pytest.raises(UnsupportedError, match="output p is a sequence or a map"):
        evaluate(model, samples, reference=model)
    with pytest.raises(UnsupportedError):
        evaluate(model, samples, reference=model, output="p")
    assert evaluate(model, samples, reference=model, output="label").metric.drop == 0


def test_what_a_zipmap_gives_is_refused_with_the_hint() -> None:
    with pytest.raises(UnsupportedError, match="ZipMap") as caught:
        pick_output({"label": np.zeros(2, int), "probabilities": [{0: 0.1, 1: 0.9}, {0: 0.5, 1: 0.5}]}, 2)
    assert "options={'zipmap': False}" in caught.value.hint


def test_an_unknown_metric_lists_the_known_ones(linear: Any) -> None:
    with pytest.raises(UsageError, match="--metric top2: unknown") as caught:
        evaluate(linear(EYE), labelled(linear(EYE)), metric="top2")
    assert "top1, top5" in caught.value.hint


def test_a_named_metric_gates_and_the_defaults_follow(linear: Any) -> None:
    model = linear(EYE)
    found = evaluate(model, labelled(model), reference=model, metric="top5")
    assert [metric.name for metric in found.metrics] == ["top5", "top1", "agreement"]


def test_class_maps_are_judged_by_miou_and_regression_by_its_error() -> None:
    maps = build(
        [helper.make_node("Identity", ["x"], ["y"])], {"x": (FLOAT, ["b", 3, 4, 4])}, {"y": (FLOAT, ["b", 3, 4, 4])}
    )
    labels = RNG.integers(0, 3, (9, 4, 4))
    x = np.eye(3, dtype=np.float32)[labels].transpose(0, 3, 1, 2)
    found = evaluate(maps, open_samples({"x": x, "labels": labels}, maps), reference=maps)
    assert [(metric.name, metric.result) for metric in found.metrics] == [("miou", 1.0), ("relative", 1.0)]
    found = evaluate(maps, open_samples({"x": x, "labels": x + 0.5}, maps), reference=maps)
    assert [(metric.name, metric.result) for metric in found.metrics] == [("relative", 1.0), ("rmse", 0.5)]
    assert not found.metrics[1].share
