"""Recovery end to end: it wins back, it never makes worse, it is reproducible, it says what it cannot do."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.support.paths import SAMPLES

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.core.errors import GateError, InvalidDataError, InvalidModelError, UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe_run
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.recovery.distillation import distill, optimizer_step
from onnxslim.recovery.distillation.training_plan import TrainingState
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session

QUICK = RecoverOptions(steps=150, lr=2e-2)


def error(model: ir.Model, teacher: ir.Model, x: np.ndarray, name: str = "x") -> float:
    a, b = (next(iter(Session(m).run({name: x}).values())) for m in (teacher, model))
    return float(((a - b) ** 2).sum() / (a**2).sum())


def fresh(count: int = 500) -> np.ndarray:
    return np.random.default_rng(99).standard_normal((count, 8)).astype(np.float32)


def test_a_damaged_model_comes_nearer_to_its_teacher_on_samples_nobody_showed_it(build: ModuleType) -> None:
    teacher = build.mlp()
    student = build.damaged(teacher, 0.5)
    result, account = recover(student, teacher, build.rows(), QUICK)
    assert error(result, teacher, fresh()) < 0.3 * error(student, teacher, fresh())
    assert account.changed == {"trained weights": 4}
    assert account.details["after"]["error"] < account.details["before"]["error"]
    assert account.details["ran"] == 150


def test_unseen_samples_judge_and_all_the_others_teach(build: ModuleType) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    samples, unseen = build.rows(), open_samples({"x": fresh(40)}, teacher)
    _, account = recover(student, teacher, samples, QUICK, unseen=unseen)
    assert account.details["samples"] == {"taught": len(samples), "held": 40}
    assert account.details["before"]["error"] == pytest.approx(error(student, teacher, fresh(40)), rel=1e-4)


def test_in_a_recipe_the_tune_share_judges(build: ModuleType) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    recipe = Recipe((make_step("recover", steps=5),), tune=0.2)
    result = recipe_run.run_recipe(teacher, recipe, start=student, data={"x": fresh(100)}, time_it=False)
    held = result.steps[0].details["samples"]["held"]
    assert held == result.data["tune"]["n"] > 0
    assert result.steps[0].details["samples"]["taught"] == result.data["fit"]["n"]


def test_the_best_weights_on_the_way_are_kept_where_the_last_are_worse(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    train = distill.train
    wanted, _ = recover(student, teacher, build.rows(), QUICK)

    def spoilt(*given: Any) -> TrainingState:
        state = train(*given)
        state.best = state.average
        state.average = {name: torch.zeros_like(tensor) for name, tensor in state.average.items()}
        return state

    monkeypatch.setattr(distill, "train", spoilt)
    result, _ = recover(student, teacher, build.rows(), QUICK)
    assert model_file.to_bytes(result) == model_file.to_bytes(wanted)


def test_neither_student_nor_teacher_is_changed(build: ModuleType) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    before = model_file.to_bytes(teacher), model_file.to_bytes(student)
    recover(student, teacher, build.rows(), QUICK)
    assert (model_file.to_bytes(teacher), model_file.to_bytes(student)) == before


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(build: ModuleType) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    first, again, other = (
        model_file.to_bytes(recover(student, teacher, build.rows(), RecoverOptions(steps=20, seed=seed))[0])
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_model_that_cannot_get_better_comes_back_as_it_was_and_that_is_said(build: ModuleType) -> None:
    teacher = build.mlp()
    result, account = recover(model_file.clone(teacher), teacher, build.rows(), RecoverOptions(steps=5))
    assert model_file.to_bytes(result) == model_file.to_bytes(teacher)
    assert account.changed == {}
    assert "not bring it nearer" in account.declined[0].reason


class StopError(Exception):
    """What an interruption looks like to the training."""


def test_an_interrupted_training_goes_on_and_ends_where_it_would_have_ended(build: ModuleType, tmp_path: Path) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    options = RecoverOptions(steps=40, checkpoint=str(tmp_path / "state"))
    straight, _ = recover(student, teacher, build.rows(), RecoverOptions(steps=40))

    def stop(stage: str, done: int, total: int) -> None:
        if done == 23:
            raise StopError

    with pytest.raises(StopError):
        recover(student, teacher, build.rows(), options, progress=stop)
    seen: list[int] = []
    resumed, _ = recover(student, teacher, build.rows(), options, progress=lambda s, done, t: seen.append(done))
    assert seen[0] > 1
    assert model_file.to_bytes(resumed) == model_file.to_bytes(straight)


def test_a_checkpoint_of_another_training_is_refused(build: ModuleType, tmp_path: Path) -> None:
    state = tmp_path / "state"
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    recover(student, teacher, build.rows(), RecoverOptions(steps=4, checkpoint=str(state)))
    with pytest.raises(UsageError, match="another training"):
        recover(student, teacher, build.rows(), RecoverOptions(steps=5, checkpoint=str(state)))
    state.write_bytes(b"not a checkpoint")
    with pytest.raises(InvalidDataError, match="not a checkpoint"):
        recover(student, teacher, build.rows(), RecoverOptions(steps=4, checkpoint=str(state)))


def test_labels_teach_where_there_are_any(build: ModuleType) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 1.0)
    x = np.random.default_rng(5).standard_normal((400, 8)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int64)
    samples = open_samples({"x": x}, teacher, labels=labels)
    result, account = recover(student, teacher, samples, RecoverOptions(steps=80, label_weight=5.0, lr=2e-2))
    assert account.details["after"]["top1"] > account.details["before"]["top1"]
    right = [Session(m).run({"x": fresh()})["y"].argmax(1) == (fresh()[:, 0] > 0) for m in (student, result)]
    assert right[1].mean() > right[0].mean() + 0.1


def test_a_loss_that_is_not_finite_rolls_back_and_lowers_the_rate(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    # parts of an update run side by side: each call needs a number of its own
    real, numbers = optimizer_step.batch_loss, itertools.count(1)

    def sometimes(*args: object, **kwargs: object) -> torch.Tensor:
        number = next(numbers)
        loss = real(*args, **kwargs)
        return loss * float("nan") if number in (10, 14) else loss  # four parts an update

    monkeypatch.setattr(optimizer_step, "batch_loss", sometimes)
    result, account = recover(student, teacher, build.rows(), QUICK)
    assert account.details["rollbacks"] == 2
    assert account.details["curve"][-1]["rate"] == pytest.approx(0.09)
    assert error(result, teacher, fresh()) < error(student, teacher, fresh())
    monkeypatch.setattr(optimizer_step, "batch_loss", lambda *a, **k: real(*a, **k) * float("nan"))
    with pytest.raises(GateError, match="not finite 3 times") as raised:
        recover(student, teacher, build.rows(), QUICK)
    assert "step 0" in str(raised.value.hint)


def test_zeros_of_a_sparse_student_stay_zero(build: ModuleType) -> None:
    teacher = build.mlp()
    student = build.damaged(teacher, 0.3)
    array = build.arrays(student)["w1"]
    array[np.abs(array) < np.median(np.abs(array))] = 0
    student.graph.initializers["w1"].const_value = ir.tensor(array, name="w1")
    result, _ = recover(student, teacher, build.rows(), QUICK)
    after = build.arrays(result)["w1"]
    np.testing.assert_array_equal(after == 0, array == 0)
    assert not np.array_equal(after, array)


def test_a_narrower_student_learns_from_a_wider_teacher(build: ModuleType) -> None:
    teacher = build.mlp(hidden=16)
    narrow = build.arrays(teacher)
    narrow["w1"], narrow["b1"], narrow["w2"] = narrow["w1"][:, :10], narrow["b1"][:10], narrow["w2"][:10]
    student = model_file.clone(teacher)
    for name, array in narrow.items():
        value = student.graph.initializers[name]
        value.const_value, value.shape = ir.tensor(array.copy(), name=name), ir.Shape(array.shape)
    for node in student.graph:
        node.outputs[0].shape = None
    result, _ = recover(student, teacher, build.rows(1000), RecoverOptions(steps=150, lr=1e-2))
    assert error(result, teacher, fresh()) < 0.5 * error(student, teacher, fresh())


def test_what_torch_cannot_run_stays_frozen_while_the_rest_learns(build: ModuleType) -> None:
    constants = build.arrays(build.mlp())
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["g"], "first"),
        helper.make_node("Relu", ["g"], ["h"], "act"),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["y"], "second"),
        helper.make_node("Scaler", ["y"], ["z"], "scaler", domain="ai.onnx.ml", offset=[0.5], scale=[2.0]),
    ]
    teacher = build.model(nodes, {"x": ["n", 8]}, {"z": ["n", 3]}, constants)
    teacher.graph.opset_imports["ai.onnx.ml"] = 1
    student = build.damaged(teacher, 0.5)
    result, account = recover(student, teacher, build.rows(), QUICK)
    assert [d.node for d in account.declined] == ["scaler"]
    assert error(result, teacher, fresh()) < 0.5 * error(student, teacher, fresh())


def test_an_int8_model_learns_through_its_own_rounding_and_its_graph_stays_as_it_is() -> None:
    teacher = model_file.load(SAMPLES / "digits_cnn.onnx")
    calib = open_samples(str(SAMPLES / "digits_calib.npz"), teacher)
    int8, _ = quantize(teacher, calib, QuantizeOptions(placement="static"))
    rng = np.random.default_rng(0)
    for value in int8.graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype == ir.DataType.INT8 and value.const_value.size > 99:
            codes = value.const_value.numpy() + rng.integers(-9, 10, value.const_value.shape)
            value.const_value = ir.tensor(np.clip(codes, -127, 127).astype(np.int8), name=value.name)
    samples = open_samples(str(SAMPLES / "digits_train.npz"), teacher, max_samples=400)
    result, _ = recover(int8, teacher, samples, RecoverOptions(steps=25, lr=1e-3, augment=()))
    with np.load(SAMPLES / "digits_eval.npz") as data:
        x = data["image"][:300]
    assert error(result, teacher, x, "image") < 0.5 * error(int8, teacher, x, "image")
    before, after = ({k: v.const_value for k, v in m.graph.initializers.items()} for m in (int8, result))
    assert list(before) == list(after)
    assert [n.op_type for n in int8.graph] == [n.op_type for n in result.graph]
    kernels = [sorted(n.op_type for n in read_optimized_graph(m).graph) for m in (int8, result)]
    assert kernels[0] == kernels[1]
    assert kernels[1].count("QLinearConv") > 5
    changed = [k for k in before if not np.array_equal(before[k].numpy(), after[k].numpy())]
    assert changed
    assert not any("scale" in k or "zero_point" in k for k in changed)
    assert all(before[k].dtype == after[k].dtype for k in before)


def test_a_convolutional_network_wins_back_its_accuracy_block_by_block(build: ModuleType) -> None:
    teacher = model_file.load(SAMPLES / "digits_cnn.onnx")
    student = build.damaged(teacher, 0.6)
    samples = open_samples(str(SAMPLES / "digits_train.npz"), teacher)
    result, account = recover(student, teacher, samples, RecoverOptions(steps=40))
    assert len(account.details["gradient_norms"]) >= 3
    assert account.details["augment"] == ["crop"]
    with np.load(SAMPLES / "digits_eval.npz") as data:
        x, y = data["image"], data["labels"]
    top1 = [float((Session(m).run({"image": x})["logits"].argmax(1) == y).mean()) for m in (teacher, student, result)]
    assert top1[1] < 0.9
    assert top1[2] > top1[1] + 0.5 * (top1[0] - top1[1])


def test_bad_input_is_refused_in_one_line_that_names_it(build: ModuleType) -> None:
    teacher = build.mlp()
    with pytest.raises(UsageError, match="3 samples are too few"):
        recover(teacher, teacher, build.rows(3), QUICK)
    other = build.mlp()
    other.graph.outputs[0].name = "z"
    with pytest.raises(InvalidModelError, match="no output y"):
        recover(teacher, other, build.rows(), QUICK)
    with pytest.raises(UsageError, match="no input is an image"):
        recover(teacher, teacher, build.rows(), RecoverOptions(steps=1, augment=("flip",)))
    with pytest.raises(UsageError, match="no augmentation blur"):
        RecoverOptions(augment=("blur",))
    with pytest.raises(UsageError, match="not several"):
        RecoverOptions(steps=1, seconds=2)
    empty = build.model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 8]}, {"y": ["n", 8]}, {})
    with pytest.raises(UnsupportedError, match="no weights"):
        recover(empty, empty, build.rows(), QUICK)


def test_a_time_budget_is_kept(build: ModuleType) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    _, account = recover(student, teacher, build.rows(), RecoverOptions(seconds=2))
    assert account.seconds < 6
    assert account.details["steps"] >= 1


def test_the_number_of_cores_decides_nothing(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = build.mlp(), build.damaged(build.mlp(), 0.5)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(optimizer_step, "count_workers", lambda config, cores=cores: cores)
        result, account = recover(student, teacher, build.rows(), RecoverOptions(steps=20, lr=2e-2))
        found.append((model_file.to_bytes(result), account.details["curve"]))
    assert found[0] == found[1]
    assert found[0][0] != model_file.to_bytes(student)


def test_an_update_learns_from_all_its_samples_in_equal_parts(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = optimizer_step.batch_loss

    def noted(plan: object, lesson: optimizer_step.DistillationBatch, blockwise: bool) -> torch.Tensor:
        seen.append(len(next(iter(lesson.feeds.values()))))
        return real(plan, lesson, blockwise)

    monkeypatch.setattr(optimizer_step, "batch_loss", noted)
    recover(build.damaged(build.mlp(), 0.5), build.mlp(), build.rows(), RecoverOptions(steps=1, batch_size=30))
    assert sorted(seen[-4:]) == [7, 7, 8, 8]
