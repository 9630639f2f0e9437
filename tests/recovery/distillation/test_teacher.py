"""Which teacher fits a student."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import InvalidModelError, LimitError
from onnxslim.data.sources import open_samples
from onnxslim.recovery.distillation import teacher as teaching
from onnxslim.recovery.distillation.teacher import check_same_interface, find_class_outputs
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.runtime.session import SessionConfig
from tests.support import torch_graphs as nets
from tests.support.onnx_text import build, floats
from tests.support.quantize_graphs import model as graph


def test_teacher_and_student_must_take_and_give_the_same() -> None:
    other = nets.mlp()
    other.graph.outputs[0].name = "z"
    with pytest.raises(InvalidModelError, match="teacher has no output y"):
        check_same_interface(nets.mlp(), other)
    wide = nets.mlp()
    wide.graph.inputs[0].shape = nets.ir.Shape(["n", 9])
    with pytest.raises(InvalidModelError, match="input x"):
        check_same_interface(nets.mlp(), wide)


def test_class_scores_are_what_the_kind_of_an_output_or_the_labels_say_and_embeddings_are_none() -> None:
    rng, config = np.random.default_rng(0), SessionConfig()
    x = rng.standard_normal((64, 8)).astype(np.float32)
    pooler = build("(float[n,8] x) => (float[n,40] pooled) { u = MatMul (x, w) pooled = Tanh (u) }", w=floats(8, 40))
    sure = build("(float[n,8] x) => (float[n,5] y) { u = MatMul (x, w) y = Softmax (u) }", w=9 * floats(8, 5))
    assert find_class_outputs(pooler, open_samples({"x": x}, pooler), config) == []
    assert find_class_outputs(sure, open_samples({"x": x}, sure), config) == ["y"]
    labels = rng.integers(0, 3, 64)
    assert find_class_outputs(nets.mlp(), open_samples({"x": x}, nets.mlp(), labels=labels), config) == ["y"]


def test_an_embedding_that_is_not_of_unit_length_is_not_judged_by_its_largest_number() -> None:
    teacher = build("(float[n,8] x) => (float[n,40] pooled) { u = MatMul (x, w) pooled = Tanh (u) }", w=floats(8, 40))
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)}, teacher)
    _, report = recover(nets.damaged(teacher, 0.3), teacher, samples, RecoverOptions(steps=3))
    assert report.details["before"]["divergence"] is None
    assert report.details["before"]["agreement"] is None


def test_scores_of_one_sample_a_run_may_have_no_axis_for_it() -> None:
    body = "h = MatMul (x, w) s = Softmax (h) k = Constant <value_ints = [-1]> () y = Reshape (s, k)"
    teacher = build(f"(float[1,8] x) => (float[4] y) {{ {body} }}", w=floats(8, 4) * 5)
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)}, teacher)
    _, report = recover(nets.damaged(teacher, 0.3), teacher, samples, RecoverOptions(steps=5, lr=1e-2))
    assert report.details["before"]["error"] > 0
    assert report.details["before"]["agreement"] is None


def test_a_lack_of_memory_is_not_taken_for_outputs_that_hold_no_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.mlp()
    samples = open_samples({"x": np.zeros((16, 8), np.float32)}, model)

    def run_out(*_: object, **__: object) -> list[object]:
        raise LimitError("the runtime ran out of memory")

    monkeypatch.setattr(teaching, "recognize_outputs", run_out)
    with pytest.raises(LimitError, match="out of memory"):
        find_class_outputs(model, samples, SessionConfig())


@pytest.mark.parametrize(
    "ending",
    [
        "s = SplitToSequence <axis = 0, keepdims = 0> (h)",  # of as many members as there are samples in a run
        "s = SplitToSequence <axis = 1> (h, sizes)",  # of several shapes
        """empty = SequenceEmpty ()
        one = SequenceInsert (empty, h)
        s = SequenceInsert (one, x)""",
        """empty = SequenceEmpty ()
        p = Softmax (h)
        s = SequenceInsert (empty, p)""",  # of class scores
    ],
)
def test_sequences_that_the_model_gives_out_are_judged_and_what_they_are_made_of_is_learnt(ending: str) -> None:
    rng = np.random.default_rng(0)
    text = f"g (float[n,8] x) => (seq(float[]) s) {{ h = MatMul (x, w) \n {ending} }}"
    w = rng.standard_normal((8, 8)).astype(np.float32)
    teacher, student = (graph(text, w=values, sizes=np.array([3, 5])) for values in (w, (w * 1.3).astype(np.float32)))
    samples = open_samples({"x": rng.standard_normal((48, 8)).astype(np.float32)}, teacher)
    _, report = recover(student, teacher, samples, RecoverOptions(steps=8, batch_size=8))
    assert report.details["after"]["error"] < report.details["before"]["error"]
