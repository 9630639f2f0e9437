"""The table as a whole, on models: what is narrowed, named and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxslim.core.errors import UsageError
from onnxslim.data.sources import open_samples
from onnxslim.validation.evaluation import evaluate
from onnxslim.validation.gates import Gates, find_gate_failures
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation
from onnxslim.validation.output_kinds.recognition import judge_by, recognize
from tests.support.judged import labelled, scores
from tests.support.node_graphs import FLOAT, build, two_outputs
from tests.support.observed import make_logits, observe_outputs

RNG = np.random.default_rng(0)
EYE = np.eye(10)


def test_every_output_is_judged_and_naming_some_leaves_the_others_out() -> None:
    model = two_outputs()
    samples = labelled(model)
    found = evaluate(model, samples, reference=model)
    assert {metric.output for metric in found.gating} >= {"scores", "sum"}
    by_label = evaluate(model, samples, reference=model, output="label")
    assert {metric.name for metric in by_label.metrics} == {"top1", "agreement"}
    assert by_label.metric.result == np.mean(scores(samples, EYE).argmax(1) == samples.labels)
    two = evaluate(model, samples, reference=model, output=("scores", "label"))
    assert {kind.outputs for kind in two.kinds} == {("scores",), ("label",)}
    with pytest.raises(UsageError, match="--output nope") as caught:
        evaluate(model, samples, reference=model, output="nope")
    assert "scores (class scores)" in caught.value.hint


def test_the_worst_of_several_outputs_gates() -> None:
    model = build(
        [helper.make_node("Mul", ["x", "a"], ["y"]), helper.make_node("Add", ["x", "b"], ["z"])],
        {"x": (FLOAT, ["n", 3])}, {"y": (FLOAT, ["n", 3]), "z": (FLOAT, ["n", 3])},
        {"a": np.float32(1), "b": np.float32(0)},
    )  # fmt: skip
    worse = build(
        [helper.make_node("Mul", ["x", "a"], ["y"]), helper.make_node("Add", ["x", "b"], ["z"])],
        {"x": (FLOAT, ["n", 3])}, {"y": (FLOAT, ["n", 3]), "z": (FLOAT, ["n", 3])},
        {"a": np.float32(1.001), "b": np.float32(0.5)},
    )  # fmt: skip
    samples = open_samples({"x": RNG.normal(size=(60, 3)).astype(np.float32)}, model)
    found = evaluate(worse, samples, reference=model)
    assert found.metric.output == "z"
    assert found.metrics[0] is found.metric
    assert found.metric.scaled_drop > 0.01


def test_labels_that_fit_no_output_are_told() -> None:
    model = two_outputs()
    found = evaluate(model, labelled(model), reference=model, output="sum")
    assert any("labels" in warning and "sum (numbers)" in warning for warning in found.warnings)


def test_a_named_metric_gates_and_the_defaults_follow(linear: Any) -> None:
    model = linear(EYE)
    found = evaluate(model, labelled(model), reference=model, metric="top5")
    assert [metric.name for metric in found.gating] == ["top5"]
    assert {"agreement", "confidence"} <= {metric.name for metric in found.metrics}


def test_a_named_metric_goes_to_the_outputs_that_it_is_of_else_to_the_first_it_can_read() -> None:
    observed = observe_outputs({"logits": make_logits(40, 10), "score": RNG.normal(size=(40, 1))})
    kinds = recognize(observed)
    assert [kind.outputs for kind in judge_by("variance", kinds, observed)] == [("score",)]
    assert [kind.outputs for kind in judge_by("relative", kinds, observed)] == [("logits",)]
    with pytest.raises(UsageError, match="metric miou can read no output") as caught:
        judge_by("miou", kinds, observed)
    assert "logits (class scores)" in str(caught.value.hint)


def test_an_unknown_metric_lists_the_known_ones(linear: Any) -> None:
    with pytest.raises(UsageError, match="--metric top2: unknown") as caught:
        evaluate(linear(EYE), labelled(linear(EYE)), metric="top2")
    assert "top1, top5" in caught.value.hint


def test_members_of_sequences_are_judged_and_named() -> None:
    model = build(
        [
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
            helper.make_node("SequenceConstruct", ["x"], ["p"]),
        ],
        {"x": (FLOAT, ["batch", 10])},
        {"label": (TensorProto.INT64, ["batch"]), "p": helper.make_tensor_sequence_value_info("p", FLOAT, None)},
    )
    samples = labelled(model)
    found = evaluate(model, samples, reference=model)
    assert [(kind.name, kind.outputs) for kind in found.kinds] == [("answers", ("label",)), ("class scores", ("p[0]",))]
    assert evaluate(model, samples, reference=model, output="p[0]").output == "p[0]"
    with pytest.raises(UsageError, match="no such output") as caught:
        evaluate(model, samples, reference=model, output="p")
    assert "p[0]" in str(caught.value.hint)


def make_map_model(*nodes: Any) -> Any:
    nodes = nodes or (helper.make_node("Identity", ["x"], ["y"]),)
    return build(list(nodes), {"x": (FLOAT, ["b", 3, 8, 8])}, {"y": (FLOAT, ["b", 3, 8, 8])})


@pytest.mark.parametrize("metric", [None, "miou"])
def test_masks_that_change_and_are_as_often_right_fail_beside_labels(metric: str | None) -> None:
    """Half of the labels are of the class beside: whoever draws that one everywhere is right as often as the original."""
    original = make_map_model()
    result = make_map_model(
        helper.make_node("Split", ["x"], ["a", "b", "c"], axis=1),
        helper.make_node("Concat", ["c", "a", "b"], ["y"], axis=1),
    )
    classes = np.arange(9).reshape(9, 1, 1) % 3 + np.zeros((9, 8, 8), int)
    x = np.eye(3, dtype=np.float32)[classes].transpose(0, 3, 1, 2)
    labels = np.where(np.arange(8) % 2, (classes + 1) % 3, classes)
    found = evaluate(result, open_samples({"x": x, "labels": labels}, original), reference=original, metric=metric)
    assert {one.name: (one.drop, one.guards) for one in found.gating} == {"miou": (0.0, False), "iou": (1.0, True)}
    (failure,) = find_gate_failures(Gates(max_drop=0.01), found)
    assert failure.startswith("iou drops by 100 % (100 % to 0 %); at most 2 % is allowed")


def test_class_maps_are_judged_by_miou_and_regression_by_its_error() -> None:
    maps = make_map_model()
    labels = RNG.integers(0, 3, (9, 8, 8))
    x = np.eye(3, dtype=np.float32)[labels].transpose(0, 3, 1, 2)
    found = evaluate(maps, open_samples({"x": x, "labels": labels}, maps), reference=maps)
    assert [(metric.name, metric.result) for metric in found.gating] == [("miou", 1.0), ("iou", 1.0)]
    found = evaluate(maps, open_samples({"x": x, "labels": x + 0.5}, maps), reference=maps)
    assert found.find("rmse").result == 0.5
    assert not found.find("rmse").share


@given(data=st.data())
def test_whatever_shapes_the_samples_of_an_output_have_it_is_something(data: st.DataObject) -> None:
    """Sizes may depend on the values that go in: a Pad, a TopK or a Reshape by an input, detections found or not."""
    count = data.draw(st.integers(1, 4))
    outputs = {}
    for index in range(data.draw(st.integers(1, 3))):
        rank, dtype = data.draw(st.integers(0, 4)), data.draw(st.sampled_from(["f4", "f2", "i8", "b", "U"]))
        fixed = data.draw(st.booleans())
        shapes = [data.draw(st.tuples(*[st.sampled_from([0, 1, 2, 4, 5, 9])] * rank)) for _ in range(1 if fixed else count)]
        fill = np.random.default_rng(data.draw(st.integers(0, 99)))
        rows = tuple(fill.normal(size=shape).astype(dtype) for shape in (shapes * count)[:count])
        outputs[f"y{index}"] = OutputObservation(f"y{index}", rows)
    image = data.draw(st.sampled_from([(count, 3, 9, 9), (count, 5), (count, 4, 2)]))
    kinds = recognize(ModelObservation(outputs, inputs={"x": np.zeros(image, np.float32)}))
    assert {name for kind in kinds for name in kind.outputs} == set(outputs)
    assert all(kind.reason for kind in kinds)
