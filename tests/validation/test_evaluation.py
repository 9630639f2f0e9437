"""Evaluate on models small enough to know the answer, and on the real ones of the zoo where they are."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from sklearn.metrics import roc_auc_score

from onnxslim.core.errors import InvalidDataError, InvalidModelError, UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.validation.evaluation import evaluate
from onnxslim.validation.output_fidelity import OutputFidelity
from onnxslim.validation.output_selection import pick_output
from tests.validation.conftest import FLOAT, build

RNG = np.random.default_rng(0)
EYE = np.eye(10)


def labelled(model: ir.Model, n: int = 200, noise: float = 0.6, classes: int = 10) -> Samples:
    """Noisy one-hot inputs, which the identity classifies well but not perfectly."""
    labels = np.arange(n) % classes
    x = np.eye(10)[labels] + noise * np.random.default_rng(1).normal(size=(n, 10))
    return open_samples({"x": x.astype(np.float32), "labels": labels}, model)


def scores(samples: Samples, weight: np.ndarray) -> np.ndarray:
    return np.concatenate([batch["x"] for batch in samples.batches(64)]) @ weight.astype(np.float32)


def test_metrics_outputs_and_samples_are_those_of_the_two_models(linear: Any) -> None:
    original, worse = linear(EYE), linear(EYE + 0.2 * RNG.normal(size=(10, 10)))
    samples = labelled(original)
    found = evaluate(worse, samples, reference=original, batch_size=7)
    a, b = scores(samples, EYE), scores(samples, worse.graph.initializers["w"].const_value.numpy())
    assert [metric.name for metric in found.metrics] == ["top1", "top5", "agreement"]
    assert found.metric.original == np.mean(a.argmax(1) == samples.labels)
    assert found.metric.result == np.mean(b.argmax(1) == samples.labels)
    assert found.metric.interval[0] < found.metric.drop < found.metric.interval[1]
    assert found.find("agreement").result == np.mean(a.argmax(1) == b.argmax(1))
    assert found.disagreeing.tolist() == np.flatnonzero(a.argmax(1) != b.argmax(1)).tolist()
    assert found.original_correct.tolist() == (a.argmax(1) == samples.labels).tolist()
    assert found.result_correct.dtype == bool
    whole = OutputFidelity()
    whole.add(a, b)
    assert found.outputs["scores"].sqnr_db == pytest.approx(whole.sqnr_db, abs=1e-3)


def test_the_json_is_the_contracts(linear: Any) -> None:
    model = linear(EYE)
    entry = evaluate(model, labelled(model), reference=model).as_json()
    assert set(entry) == {"metrics", "outputs", "judged"}
    assert set(entry["metrics"][0]) >= {"name", "original", "result", "drop", "interval", "n"}
    assert set(entry["outputs"]["scores"]) >= {"sqnr_db", "cosine", "kl"}
    assert entry["outputs"]["scores"]["equal"]
    assert entry["judged"] == {"output": "scores", "disagreeing": []}


def test_without_labels_agreement_gates_and_its_interval_starts_at_zero(linear: Any) -> None:
    model = linear(EYE)
    samples = open_samples({"x": RNG.normal(size=(50, 10)).astype(np.float32)}, model)
    metric = evaluate(model, samples, reference=model).metric
    assert (metric.name, metric.result, metric.drop) == ("agreement", 1.0, 0.0)
    assert metric.interval[0] == pytest.approx(0, abs=1e-9)
    assert metric.interval[1] == pytest.approx(3.8415 / 53.8415, abs=1e-3)


def test_alone_only_labels_can_judge(linear: Any) -> None:
    model = linear(EYE)
    found = evaluate(model, labelled(model))
    assert [metric.name for metric in found.metrics] == ["top1", "top5"]
    assert (found.metric.original, found.metric.drop, found.outputs) == (None, None, {})
    with pytest.raises(UsageError, match="nothing to judge by"):
        evaluate(model, open_samples({"x": np.eye(10, dtype=np.float32)}, model))
    with pytest.raises(UsageError, match="agreement needs a reference model"):
        evaluate(model, labelled(model), metric="agreement")


def test_a_wrong_normalisation_is_caught_before_it_can_look_fine(linear: Any) -> None:
    """The compressed model is as lost as the original: they agree everywhere, and nothing has been shown."""
    model = linear(EYE)
    samples = labelled(model)
    garbled = open_samples({"x": -scores(samples, EYE), "labels": samples.labels}, model)
    with pytest.raises(InvalidDataError, match=r"the original's top-1 is .* no better than guessing") as caught:
        evaluate(model, garbled, reference=model)
    assert "preprocessing" in caught.value.hint


def test_an_int8_graph_of_nonsense_is_caught_when_judged_alone(linear: Any) -> None:
    nonsense = linear(np.round(RNG.normal(size=(10, 10)) * 0.1))
    with pytest.raises(InvalidDataError, match="the model's top-1"):
        evaluate(nonsense, labelled(nonsense))


def test_outputs_that_hardly_vary_are_warned_about_but_not_on_random_data(linear: Any) -> None:
    model = linear(EYE * 1e-4, bias=np.arange(10))
    x = RNG.normal(size=(40, 10)).astype(np.float32)
    found = evaluate(model, open_samples(x, model), reference=model)
    assert len(found.warnings) == 1
    assert "output scores hardly differs between the samples" in found.warnings[0]
    assert evaluate(model, open_samples("random", model), reference=model).warnings == []


def test_random_data_with_labels_are_not_held_to_chance(linear: Any) -> None:
    model = linear(EYE)
    samples = open_samples("random", model, labels=np.arange(32) % 10, seed=3)
    assert evaluate(model, samples, reference=model).metric.name == "top1"


def two_outputs() -> ir.Model:
    """A label (int64) before the scores, as scikit-learn's exporter writes them, and a score of one column."""
    return build(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"]),
            helper.make_node("Identity", ["x"], ["scores"]),
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        ],
        {"x": (FLOAT, ["batch", 10])},
        {"label": (TensorProto.INT64, ["batch"]), "sum": (FLOAT, ["batch", 1]), "scores": (FLOAT, ["batch", 10])},
        {"axes": np.array([1])},
    )


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
    assert (found.metric.name, found.metric.result) == ("relative", 1.0)

    def count(outputs: list[np.ndarray], labels: None) -> float:
        return float(np.mean([len(sample) for sample in outputs]))

    counted = evaluate(model, open_samples(x, model), reference=model, metric=count)
    assert counted.metric.result == pytest.approx((x > 0).sum(axis=1).mean())


def test_a_lost_output_is_an_error_that_names_it(linear: Any) -> None:
    with pytest.raises(InvalidModelError, match="no output label"):
        evaluate(linear(EYE), labelled(linear(EYE)), reference=two_outputs())


def test_a_function_with_a_value_per_sample_is_streamed_and_paired(linear: Any) -> None:
    original, worse = linear(EYE), linear(EYE * 0.9)
    samples = labelled(original)

    def margin(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        assert len(outputs) <= 16
        return outputs[np.arange(len(outputs)), labels]

    metric = evaluate(worse, samples, reference=original, metric=margin, batch_size=16).metric
    assert metric.name == "margin"
    assert metric.result == pytest.approx(0.9 * metric.original, rel=1e-5)
    assert metric.interval[0] < metric.drop < metric.interval[1]


def test_a_function_of_one_value_gets_everything_at_once_and_a_jackknife_interval(linear: Any) -> None:
    original, worse = linear(EYE), linear(EYE + 0.5 * RNG.normal(size=(10, 10)))
    samples = labelled(original, noise=1.5)

    def auc(outputs: np.ndarray, labels: np.ndarray) -> float:
        if len(set(labels == 0)) < 2:
            raise ValueError("one batch may lack a class; all samples together do not")
        return float(roc_auc_score(labels == 0, outputs[:, 0]))

    metric = evaluate(worse, samples, reference=original, metric=auc, batch_size=1).metric
    assert metric.original == pytest.approx(roc_auc_score(samples.labels == 0, scores(samples, EYE)[:, 0]))
    assert metric.interval[0] < metric.drop < metric.interval[1]


def test_a_function_sees_all_outputs_of_a_model_that_has_several_unless_one_is_named() -> None:
    model = two_outputs()
    samples = labelled(model)
    seen: list[type] = []

    def spy(outputs: Any, labels: np.ndarray) -> np.ndarray:
        seen.append(type(outputs))
        return np.ones(len(labels))

    evaluate(model, samples, reference=model, metric=spy)
    assert set(seen) == {dict}
    seen.clear()
    evaluate(model, samples, reference=model, metric=spy, output="scores")
    assert set(seen) == {np.ndarray}


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (lambda outputs, labels: np.zeros(3), UsageError, r"expected shape \(64,\) for 64 samples, or one value"),
        (lambda outputs, labels: 1 / 0, UsageError, "raised ZeroDivisionError"),
        (lambda outputs, labels: np.full(len(outputs), np.nan), InvalidDataError, "returned NaN"),
        (lambda outputs, labels: float("nan"), InvalidDataError, "returned NaN"),
        (lambda outputs: 1.0, UsageError, "raised TypeError"),
    ],
)
def test_a_function_that_misbehaves_is_named(linear: Any, function: Any, error: type, said: str) -> None:
    model = linear(EYE)
    with pytest.raises(error, match=said) as caught:
        evaluate(model, labelled(model), reference=model, metric=function)
    assert "<lambda>" in caught.value.message


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


def test_a_fixed_batch_and_a_free_one_are_judged_together(linear: Any) -> None:
    free = linear(EYE)
    fixed = model_file.clone(free)
    for value in (*fixed.graph.inputs, *fixed.graph.outputs):
        value.shape = ir.Shape([1, 10])
    samples = open_samples({"x": scores(labelled(free), EYE), "labels": np.arange(200) % 10}, fixed)
    assert evaluate(free, samples, reference=fixed).find("agreement").result == 1


def test_progress_counts_samples_and_the_models_are_not_changed(linear: Any) -> None:
    model = linear(EYE)
    before, seen = model_file.to_bytes(model), []
    evaluate(model, labelled(model), reference=model, batch_size=90, progress=lambda *call: seen.append(call))
    assert seen == [("evaluate", 90, 200), ("evaluate", 180, 200), ("evaluate", 200, 200)]
    assert model_file.to_bytes(model) == before


def test_memory_does_not_grow_with_the_samples(linear: Any) -> None:
    """Samples of 256 kB each, made up as they are read: 4 or 64 of them, the peak is the same."""
    model = linear(np.full((65536, 10), 1e-3))
    peaks = []
    for n in (16, 256):
        samples = open_samples("random", model, max_samples=n)
        tracemalloc.start()
        evaluate(model, samples, reference=model, batch_size=4)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


def test_the_zoos_top1_is_the_one_its_authors_quote(zoo: Path, zoo_data: ModuleType) -> None:
    """200 of the 10 000 images: the quoted 83.20 % must lie in their 95 % interval, give or take one image."""
    model = model_file.load(zoo / "cifar10_resnet56.onnx")
    _, name, prepare = zoo_data.LABELLED["cifar10_resnet56"]
    x, y = zoo_data.images(name, 0, 200)
    found = evaluate(model, open_samples({"input": prepare(x), "labels": y}, model))
    assert abs(found.metric.result - 0.8320) < 0.06
    swapped = open_samples({"input": 40 * prepare(x)[:, :, ::-1].copy() - 90, "labels": y}, model)
    with pytest.raises(InvalidDataError, match="no better than guessing"):
        evaluate(model, swapped)
