"""Evaluate on models small enough to know the answer, and on the real ones of the zoo where they are."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from onnxslim.validation.evaluation import evaluate, evaluate_all
from onnxslim.validation.output_fidelity import OutputFidelity
from onnxslim.validation.output_kinds.recognition import recognize_outputs
from tests.support import onnx_text, quantize_graphs
from tests.support.judged import labelled, scores

RNG = np.random.default_rng(0)
EYE = np.eye(10)


def test_metrics_outputs_and_samples_are_those_of_the_two_models(linear: Any) -> None:
    original, worse = linear(EYE), linear(EYE + 0.2 * RNG.normal(size=(10, 10)))
    samples = labelled(original)
    found = evaluate(worse, samples, reference=original, batch_size=7)
    a, b = scores(samples, EYE), scores(samples, worse.graph.initializers["w"].const_value.numpy())
    assert [metric.name for metric in found.metrics] == ["top1", "top5", "agreement", "confidence"]
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


def test_the_original_judged_as_itself_is_loaded_and_run_once(linear: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class CountedSession(Session):
        def __init__(self, *args: Any) -> None:
            loaded.append(args)
            super().__init__(*args)

    loaded: list[Any] = []
    model = linear(EYE)
    samples = labelled(model)
    kinds = recognize_outputs(model, samples)
    monkeypatch.setattr("onnxslim.validation.evaluation.Session", CountedSession)
    found = evaluate_all({"original": model, "result": linear(EYE)}, samples, reference=model, kinds=kinds)
    assert len(loaded) == 2
    assert found["original"].metric.drop == found["result"].metric.drop == 0


def test_without_labels_the_expected_drop_gates_and_agreement_guards_it(linear: Any) -> None:
    model = linear(10 * EYE)
    x = np.concatenate([batch["x"] for batch in labelled(model, n=50).batches(64)])
    found = evaluate(model, open_samples({"x": x}, model), reference=model)
    assert [metric.name for metric in found.gating] == ["confidence", "agreement"]
    assert found.metric.drop == 0.0
    metric = found.find("agreement")
    assert metric.guards
    assert metric.get_own_limit(0.01) == pytest.approx(0.015)
    assert (metric.result, metric.drop, metric.output) == (1.0, 0.0, "scores")
    assert metric.interval[0] == pytest.approx(0, abs=1e-9)
    assert metric.interval[1] == pytest.approx(3.8415 / 53.8415, abs=1e-3)


COMING_AND_GOING = """(float[1,12] x, int64[1] k) => (float[1,12] y, seq(float[1,d]) parts, optional(float[1,12]) may) {
  y = Neg(x)
  axes = Constant<value: tensor = int64[1] {0}>()
  six = Constant<value: tensor = int64 {6}>()
  size = Squeeze(k, axes)
  parts = SplitToSequence<axis=1>(x, size)
  long = Greater(size, six)
  may = If(long)<
    then_branch = a () => (optional(float[1,12]) some) { some = Optional(x) },
    else_branch = b () => (optional(float[1,12]) none) { none = Optional<type: type_proto = float[1,12]>() }>
}"""


@given(
    sizes=st.one_of(
        st.lists(st.integers(1, 12), min_size=8, max_size=30),
        # what is seldom is not among the samples that are looked at
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(70, 120)).map(lambda t: [t[0]] * t[2] + [t[1]]),
    ),
    kept=st.sets(st.sampled_from(["y", "parts", "may"]), min_size=1),
    named=st.none() | st.sampled_from(["y", "parts", "parts[0]", "parts[1]", "may"]),
)
@settings(max_examples=10)
def test_tensors_that_come_and_go_are_not_judged_and_what_always_comes_is(
    sizes: list[int], kept: set[str], named: str | None
) -> None:
    model = onnx_text.build(COMING_AND_GOING, opset=18)
    model.graph.outputs[:] = [output for output in model.graph.outputs if output.name in kept]
    x = RNG.normal(size=(len(sizes), 12)).astype(np.float32)
    samples = open_samples({"x": x, "k": np.array(sizes)}, model)
    refused: OnnxslimError | None = None
    try:
        found = evaluate(model, samples, reference=model, output=named)
    except (UsageError, UnsupportedError) as error:
        refused = error
    if refused is not None:
        assert "y" not in kept or named not in (None, "y")
        assert refused.hint
        return
    always = {"y"} & kept | {f"parts[{i}]" for i in range(min(-(-12 // k) for k in sizes)) if "parts" in kept}
    always |= {"may"} & kept if min(sizes) > 6 else set()
    assert {metric.output for metric in found.gating} <= always
    assert found.metric.drop == 0
    assert named in (None, found.output)


def test_a_function_that_judges_what_comes_in_some_samples_only_is_told_so() -> None:
    model = onnx_text.build(COMING_AND_GOING, opset=18)
    sizes = np.where(np.arange(400) == 137, 12, 4)  # what is seldom is not among the samples that are looked at
    samples = open_samples({"x": RNG.normal(size=(400, 12)).astype(np.float32), "k": sizes}, model)
    with pytest.raises(UnsupportedError, match=r"output parts\[1\] is there in some samples only"):
        evaluate(model, samples, metric=lambda result, reference, labels: np.ones(1), output="parts[1]")


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


#: Outputs without a row a sample, by the nodes that make them of ``s`` (n, 6); and whether another output has rows.
ROWLESS = {
    "a mean": ("m = ReduceMean<keepdims=0>(s) y = Neg(m)", False),
    "a list of what was found": ("g = Greater(s, limit) i = NonZero(g) t = Transpose(i) y = GatherND(s, t)", False),
    "a list of places": ("g = Greater(s, limit) i = NonZero(g) y = Transpose(i)", False),
    "the batch second": ("u = Unsqueeze(s, front) y = Concat<axis=0>(u, u)", False),
    "a mean beside rows": ("m = ReduceMean<keepdims=0>(s) y = Neg(m) z = Abs(s)", True),
}


def make_rowless(name: str, batch: int | str) -> ir.Model:
    nodes = ROWLESS[name][0]
    outputs = {"a mean": "float y", "a mean beside rows": f"float y, float[{batch},6] z", "a list of places": "int64[k,2] y"}
    outputs |= {"a list of what was found": "float[k] y", "the batch second": f"float[2,{batch},6] y"}
    return quantize_graphs.model(
        f"""g (float[{batch},8] x) => ({outputs[name]}) <float limit = {{1.4}}, int64[1] front = {{0}}>
        {{ s = MatMul(x, w) {nodes} }}""",
        w=(np.random.default_rng(0).normal(size=(8, 6)) / 2).astype(np.float32),
    )


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("name", ROWLESS)
def test_outputs_without_a_row_a_sample_are_judged_sample_by_sample(name: str, batch: int | str) -> None:
    """Samples in which nothing is found among them; where a fixed batch forbids it, the reason is said."""
    model, has_rows = make_rowless(name, batch), ROWLESS[name][1]
    x = np.random.default_rng(2).normal(size=(16, 8)).astype(np.float32)
    samples = open_samples({"x": x * (np.arange(16) % 3 > 0)[:, None]}, model)
    if batch == 4 and not has_rows:
        with pytest.raises(UsageError, match="expected one row per sample") as caught:
            evaluate(model, samples, reference=model)
        assert "fixed at 4" in str(caught.value.hint)
        return
    found = evaluate(model, samples, reference=model)
    assert found.metric.n == 16
    assert found.metric.result == 1
    if not has_rows and batch == "n":
        with pytest.raises(UsageError, match="expected one row per sample"):
            evaluate(model, samples, reference=model, batch_size=5)
