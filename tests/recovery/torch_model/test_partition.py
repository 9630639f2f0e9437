"""What a training stands on: blocks, partition, pools of samples, changes of inputs, losses."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.graph import shapes
from onnxslim.recovery.distillation import augmentation, losses
from onnxslim.recovery.distillation.channel_affine import channel_axis, fit_channel_affine, sample_by_channel
from onnxslim.recovery.distillation.optimizer_step import compute_rate_factor
from onnxslim.recovery.distillation.sample_cache import SampleCache
from onnxslim.recovery.distillation.teacher import StudentScore, check_same_interface
from onnxslim.recovery.torch_model.blocks import divide_into_blocks, find_cuts, match_cuts
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.recovery.torch_model.partition import partition
from onnxslim.runtime.session import Session


def residual(build: ModuleType) -> object:
    """x → (a + branch(a)) → y: inside the branch nothing can be cut."""
    eye = np.eye(4, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Shape", ["x"], ["looked_at"]),
        helper.make_node("MatMul", ["a", "w1"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["d"]),
        helper.make_node("Add", ["a", "d"], ["e"]),
        helper.make_node("MatMul", ["e", "w3"], ["f"]),
        helper.make_node("Reshape", ["f", "looked_at"], ["y"]),
    ]
    return build.model(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, {f"w{i}": eye * (i + 1) for i in range(4)})


def test_a_residual_branch_is_never_cut_and_shape_arithmetic_does_not_hide_a_cut(build: ModuleType) -> None:
    model = residual(build)
    shapes.infer(model)
    assert [value.name for value in find_cuts(model.graph)] == ["a", "e", "f"]


def test_blocks_hold_every_weight_once_and_end_at_the_cuts(build: ModuleType) -> None:
    graph = residual(build).graph
    assert divide_into_blocks(graph, ["a", "e"], ["w0", "w1", "w2", "w3"], 9) == {
        "a": ["w0"],
        "e": ["w1", "w2"],
        "": ["w3"],
    }
    assert divide_into_blocks(graph, ["a", "e"], ["w0", "w1", "w2", "w3"], 1) == {"": ["w0", "w1", "w2", "w3"]}
    assert divide_into_blocks(graph, [], ["w3"], 9) == {"": ["w3"]}


def test_only_cuts_of_the_same_name_and_shape_are_matched(build: ModuleType) -> None:
    narrow, wide = build.mlp(hidden=8), build.mlp(hidden=16)
    for model in (narrow, wide):
        shapes.infer(model)
    assert match_cuts(narrow, wide) == []
    assert match_cuts(wide, wide) == ["g", "h"]


def test_what_torch_cannot_run_is_frozen_on_the_side_that_costs_less(build: ModuleType) -> None:
    rng = np.random.default_rng(0)
    constants = {f"w{i}": rng.standard_normal((4, 4)).astype(np.float32) for i in range(3)}
    early = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("RandomNormalLike", ["a"], ["noise"], "dice"),
        helper.make_node("Mul", ["noise", "nothing"], ["silence"]),
        helper.make_node("Add", ["a", "silence"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["y"]),
    ]
    model = build.model(early, {"x": ["n", 4]}, {"y": ["n", 4]}, {**constants, "nothing": np.zeros(1, np.float32)})
    parts = partition(model)
    assert parts.frozen == {"dice": "no rule for RandomNormalLike"}
    assert parts.front is not None
    executor = TorchExecutor(parts.body)
    assert sorted(executor.weights) == ["w1", "w2"]
    feeds = {"x": rng.standard_normal((3, 4)).astype(np.float32)}
    head = Session(parts.front).run(feeds)
    given = {name: head.get(name, feeds.get(name)) for name in executor.inputs}
    np.testing.assert_allclose(executor.run_numpy(given)["y"], Session(model).run(feeds)["y"], rtol=1e-5, atol=1e-5)


def test_what_lies_behind_is_cut_off_and_its_inputs_are_learnt(build: ModuleType) -> None:
    constants = {"w0": np.eye(4, dtype=np.float32), "w1": np.eye(4, dtype=np.float32)}
    late = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("MatMul", ["a", "w1"], ["b"]),
        helper.make_node("RandomNormalLike", ["b"], ["y"], "dice"),
    ]
    parts = partition(build.model(late, {"x": ["n", 4]}, {"y": ["n", 4]}, constants))
    assert parts.front is None
    assert TorchExecutor(parts.body).float_outputs == ["b"]


def test_a_model_without_a_trainable_middle_is_refused_by_name(build: ModuleType) -> None:
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["y"], "dice")]
    with pytest.raises(UnsupportedError, match="dice"):
        partition(build.model(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, {}))


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 60), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_shows_samples_at_most_once_and_a_step_depends_on_its_number_alone(
    build: ModuleType, count: int, size: int, seed: int
) -> None:
    x = np.arange(count, dtype=np.float32)[:, None].repeat(8, 1)
    pool = SampleCache(open_samples({"x": x}, build.mlp(), labels=np.arange(count)), seed)
    steps = count // min(size, count)
    shown = []
    for step in range(steps):
        ((feeds, labels),) = pool.draw_batches(step, size, seed)
        ((again, _),) = pool.draw_batches(step, size, seed)
        np.testing.assert_array_equal(feeds["x"], again["x"])
        np.testing.assert_array_equal(feeds["x"][:, 0], labels)
        shown += feeds["x"][:, 0].tolist()
    assert len(shown) == len(set(shown)) == steps * min(size, count)
    assert sorted(float(v) for feeds, _ in pool.iterate_all(7) for v in feeds["x"][:, 0]) == list(range(count))


def test_a_model_with_a_fixed_batch_is_shown_whole_batches(build: ModuleType) -> None:
    model = build.mlp()
    model.graph.inputs[0].shape = build.ir.Shape([4, 8])
    pool = SampleCache(open_samples({"x": np.ones((22, 8), np.float32)}, model))
    runs = list(pool.draw_batches(0, 8, 0))
    assert [feeds["x"].shape for feeds, _ in runs] == [(4, 8), (4, 8)]


@pytest.mark.parametrize("change", augmentation.AUGMENTATION_FUNCTIONS)
@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (5, 16, 16, 1), (5, 1, 8, 8)])
def test_a_changed_image_keeps_shape_type_and_range_and_is_drawn_from_the_generator(
    change: str, shape: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    function = augmentation.AUGMENTATION_FUNCTIONS[change]
    y = function(x, np.random.default_rng(1))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert not np.array_equal(x, y)
    np.testing.assert_array_equal(y, function(x, np.random.default_rng(1)))
    if change != "noise":
        assert y.min() >= x.min() - 1e-6
        assert y.max() <= x.max() + 1e-6


def test_flipping_mirrors_left_and_right_whichever_axis_holds_the_channels() -> None:
    rows = np.broadcast_to(np.arange(8, dtype=np.float32), (64, 1, 8, 8))
    first = augmentation.flip(rows, np.random.default_rng(0))
    assert {tuple(image[0, 0]) for image in first} == {tuple(range(8)), tuple(range(7, -1, -1))}
    last = augmentation.flip(np.moveaxis(rows, 1, 3), np.random.default_rng(0))
    np.testing.assert_array_equal(np.moveaxis(last, 3, 1), first)


def test_only_images_are_changed() -> None:
    feeds = {
        "image": np.random.default_rng(0).random((4, 3, 16, 16)).astype(np.float32),
        "row": np.ones((4, 9)),
    }
    changed = augmentation.augment(feeds, ["flip", "noise"], np.random.default_rng(0))
    assert not np.array_equal(changed["image"], feeds["image"])
    assert changed["row"] is feeds["row"]


def test_losses_are_zero_at_the_teacher_and_grow_away_from_it() -> None:
    teacher = torch.randn(6, 5)
    for target in (teacher, torch.softmax(teacher, 1)):
        near = losses.output_loss({"y": target}, {"y": target}, ["y"])
        far = losses.output_loss({"y": target * 0.5 + 0.1}, {"y": target}, ["y"])
        assert float(near) == pytest.approx(0, abs=1e-5)
        assert float(far) > 0.01


def test_divergence_is_that_of_the_probabilities_whether_scores_or_shares_are_given() -> None:
    a, b = torch.randn(6, 5), torch.randn(6, 5)
    p, q = torch.softmax(a, 1), torch.softmax(b, 1)
    expected = float((p * (p.log() - q.log())).sum(1).mean())
    assert float(losses.divergence(b, a)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.divergence(q, p)) == pytest.approx(expected, rel=1e-4)
    softened = 16 * float(losses.divergence(b / 4, a / 4))
    assert float(losses.divergence(b, a, 4.0)) == pytest.approx(softened, rel=1e-4)
    assert float(losses.divergence(q, p, 4.0)) == pytest.approx(softened, rel=1e-4)


def test_independent_probabilities_are_not_taken_for_class_scores() -> None:
    assert not losses.is_class_scores(torch.rand(8, 4))
    assert losses.is_class_scores(torch.softmax(torch.randn(8, 4), 1))
    assert losses.is_class_scores(torch.randn(8, 4))
    assert not losses.is_class_scores(torch.randn(8, 4, 2))


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [compute_rate_factor(step, 100, 10) for step in range(100)]
    assert np.argmax(rates) in (9, 10)
    assert max(rates) == pytest.approx(1)
    assert rates[-1] < 1e-3
    assert (np.diff(rates[10:]) < 0).all()


def test_a_score_is_better_by_what_it_gets_right_and_by_its_error_where_that_may_be_chance() -> None:
    def some(right: int, of: int = 100) -> np.ndarray:
        return np.arange(of) < right

    assert StudentScore(0.2, some(90)).is_better_than(StudentScore(0.1, some(80)))
    assert not StudentScore(0.01, some(80)).is_better_than(StudentScore(0.1, some(90)))
    assert StudentScore(0.05, some(89)).is_better_than(StudentScore(0.1, some(90)))
    assert not StudentScore(0.1, some(90)).is_better_than(StudentScore(0.1, some(90)))
    assert StudentScore(0.2, some(70), some(90)).is_better_than(StudentScore(0.1, some(80), some(80)))
    assert not StudentScore(float("nan"), some(100)).is_better_than(StudentScore(0.1, some(50)))
    assert StudentScore(0.1).is_better_than(StudentScore(0.2))
    assert StudentScore(0.1, some(50)).as_json() == {"error": 0.1, "divergence": None, "agreement": 0.5, "top1": None}


def test_answers_that_come_back_count_for_more_than_the_squared_error_of_scores() -> None:
    def some(right: int) -> np.ndarray:
        return np.arange(100) < right

    repaired, learned = StudentScore(0.08, some(87), divergence=0.35), StudentScore(0.11, some(88), divergence=0.31)
    assert learned.is_better_than(repaired)
    assert not repaired.is_better_than(learned)
    assert not StudentScore(0.11, some(60), divergence=0.31).is_better_than(repaired)


def test_teacher_and_student_must_take_and_give_the_same(build: ModuleType) -> None:
    other = build.mlp()
    other.graph.outputs[0].name = "z"
    with pytest.raises(InvalidModelError, match="teacher has no output y"):
        check_same_interface(build.mlp(), other)
    wide = build.mlp()
    wide.graph.inputs[0].shape = build.ir.Shape(["n", 9])
    with pytest.raises(InvalidModelError, match="input x"):
        check_same_interface(build.mlp(), wide)


@pytest.mark.parametrize("shape", [(16, 5, 6, 6), (64, 5), (8, 9, 5)])
def test_a_tensor_rescaled_by_channel_is_recognised_and_a_damaged_one_is_not(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(shape)
    axes = [1] * len(shape)
    axes[channel_axis(len(shape))] = 5
    student = teacher * torch.tensor([0.2, 1.0, 5.0, 3.0, 0.5]).reshape(axes) + 0.3
    found = fit_channel_affine(sample_by_channel(student), sample_by_channel(teacher))
    assert found is not None
    torch.testing.assert_close(found.apply(teacher), student, rtol=1e-4, atol=1e-4)
    damaged = teacher + 0.5 * torch.randn(shape)
    assert fit_channel_affine(sample_by_channel(damaged), sample_by_channel(teacher)) is None
