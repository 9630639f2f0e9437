"""Distillation: who judges, what comes back unimproved, what is frozen."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.activations.padding import trim_padding
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe_run
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.runtime.session import SessionConfig
from tests.support import nets as small
from tests.support import torch_graphs as nets
from tests.support.onnx_text import build, floats
from tests.support.torch_graphs import QUICK, error, fresh


def test_unseen_samples_judge_and_all_the_others_teach() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    samples, unseen = nets.rows(), open_samples({"x": fresh(40)}, teacher)
    _, report = recover(student, teacher, samples, QUICK, unseen=unseen)
    assert report.details["samples"] == {"taught": len(samples), "held": 40, "views": 1}
    assert report.details["before"]["error"] == pytest.approx(error(student, teacher, fresh(40)), rel=1e-4)


def test_labels_that_are_no_class_numbers_are_told_and_the_original_alone_teaches() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    targets = nets.rows(labels=np.linspace(0, 1, 256, dtype=np.float32))
    result, report = recover(student, teacher, targets, QUICK)
    assert "are not class numbers: the original alone is learned from" in " ".join(report.warnings)
    assert error(result, teacher, fresh()) < error(student, teacher, fresh())


def test_in_a_recipe_the_tune_share_judges() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    recipe = Recipe((make_step("recover", steps=5),), tune=0.2)
    result = recipe_run.run_recipe(teacher, recipe, start=student, data={"x": fresh(100)}, time_it=False)
    held = result.steps[0].details["samples"]["held"]
    assert held == result.data["tune"]["n"] > 0
    assert result.steps[0].details["samples"]["taught"] == result.data["fit"]["n"]


def test_a_model_that_cannot_get_better_comes_back_as_it_was_and_that_is_said() -> None:
    teacher = nets.mlp()
    result, report = recover(model_file.clone(teacher), teacher, nets.rows(), RecoverOptions(steps=5))
    assert model_file.to_bytes(result) == model_file.to_bytes(teacher)
    assert report.changed == {}
    assert "not bring it nearer" in report.skipped[0].reason


def test_what_torch_cannot_run_stays_frozen_while_the_rest_learns() -> None:
    constants = nets.arrays(nets.mlp())
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["g"], "first"),
        helper.make_node("Relu", ["g"], ["h"], "act"),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["y"], "second"),
        helper.make_node("Scaler", ["y"], ["z"], "scaler", domain="ai.onnx.ml", offset=[0.5], scale=[2.0]),
    ]
    teacher = nets.build(nodes, {"x": ["n", 8]}, {"z": ["n", 3]}, constants)
    teacher.graph.opset_imports["ai.onnx.ml"] = 1
    student = nets.damaged(teacher, 0.5)
    result, report = recover(student, teacher, nets.rows(), QUICK)
    assert [d.node for d in report.skipped] == ["scaler"]
    assert error(result, teacher, fresh()) < 0.5 * error(student, teacher, fresh())


def test_images_that_judge_are_changed_as_those_that_teach_unless_nothing_has_seen_them() -> None:
    teacher = small.residual()
    student, samples = nets.damaged(teacher, 0.3), small.samples(teacher, 64)
    befores = [
        recover(student, teacher, samples, RecoverOptions(steps=1, augment=augment), unseen=unseen)[1].details["before"]
        for augment in ((), ("flip", "crop"))
        for unseen in (None, small.samples(teacher, 20, 5))
    ]
    assert befores[0] != befores[2]
    assert befores[1] == befores[3]


@pytest.mark.parametrize(("count", "held"), [(24, 8), (64, 21), (150, 50), (256, 64), (600, 90), (4000, 512)])
def test_of_few_samples_more_judge_and_of_many_fewer(count: int, held: int) -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    _, report = recover(student, teacher, nets.rows(count), RecoverOptions(steps=1))
    assert report.details["samples"] == {"taught": count - held, "held": held, "views": 1}


@pytest.mark.parametrize("count", [12, 40, 200])
@pytest.mark.parametrize("steps", [5, 60])
@pytest.mark.parametrize("damage", [0.02, 0.5])
def test_what_comes_back_is_no_worse_on_samples_that_nobody_saw(count: int, steps: int, damage: float) -> None:
    for seed in range(3):
        teacher = nets.mlp(seed)
        student = nets.damaged(teacher, damage, seed + 10)
        options = RecoverOptions(steps=steps, seed=seed, lr=3e-2)
        result, _ = recover(student, teacher, nets.rows(count, seed + 20), options)
        assert error(result, teacher, fresh()) <= 1.02 * error(student, teacher, fresh())


def test_padding_that_a_mask_leaves_out_is_not_learnt_from() -> None:
    body = """
        u = MatMul (x, w) h = Add (u, b) a = Relu (h) z = MatMul (a, v)
        kept = Cast <to = 1> (flags) axis = Constant <value = int64[1] {2}> () weight = Unsqueeze (kept, axis)
        taken = Mul (z, weight) places = Constant <value = int64[1] {1}> () total = ReduceSum (taken, places)
        y = Add (z, total)
    """
    weights = {"w": floats(4, 16), "b": floats(16), "v": floats(16, 4)}
    teacher = build(f"(float[n,s,4] x, int64[n,s] flags) => (float[n,s,4] y) {{ {body} }}", **weights)
    rng = np.random.default_rng(2)
    lengths, x = rng.integers(1, 9, 120), rng.standard_normal((120, 8, 4)).astype(np.float32)
    flags = np.arange(8) < lengths[:, None]
    samples = open_samples({"x": x, "flags": flags.astype(np.int64)}, teacher)
    trimmed = trim_padding(teacher, samples, SessionConfig())
    assert trimmed is not samples
    options = RecoverOptions(steps=20, lr=1e-2)
    results = [recover(nets.damaged(teacher, 0.3), teacher, data, options) for data in (samples, trimmed)]
    assert len({model_file.to_bytes(model) for model, _ in results}) == 1
    report = results[0][1]
    assert report.changed
    assert report.details["after"]["error"] < report.details["before"]["error"]
