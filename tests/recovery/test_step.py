"""Recovery end to end: it wins back, it never makes worse, it is reproducible, it says what it cannot do."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")


from onnxslim.core.errors import InvalidModelError, UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session
from tests.support import torch_graphs as nets
from tests.support.paths import SAMPLES
from tests.support.torch_graphs import QUICK, error, fresh


def test_a_damaged_model_comes_nearer_to_its_teacher_on_samples_nobody_showed_it() -> None:
    teacher = nets.mlp()
    student = nets.damaged(teacher, 0.5)
    result, report = recover(student, teacher, nets.rows(), QUICK)
    assert error(result, teacher, fresh()) < 0.3 * error(student, teacher, fresh())
    assert report.changed == {"trained weights": 4}
    assert report.details["after"]["error"] < report.details["before"]["error"]
    assert report.details["ran"] == 150


def test_neither_student_nor_teacher_is_changed() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    before = model_file.to_bytes(teacher), model_file.to_bytes(student)
    recover(student, teacher, nets.rows(), QUICK)
    assert (model_file.to_bytes(teacher), model_file.to_bytes(student)) == before


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    first, again, other = (
        model_file.to_bytes(recover(student, teacher, nets.rows(), RecoverOptions(steps=20, seed=seed))[0])
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_zeros_of_a_sparse_student_stay_zero() -> None:
    teacher = nets.mlp()
    student = nets.damaged(teacher, 0.3)
    array = nets.arrays(student)["w1"]
    array[np.abs(array) < np.median(np.abs(array))] = 0
    student.graph.initializers["w1"].const_value = ir.tensor(array, name="w1")
    result, _ = recover(student, teacher, nets.rows(), QUICK)
    after = nets.arrays(result)["w1"]
    np.testing.assert_array_equal(after == 0, array == 0)
    assert not np.array_equal(after, array)


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


def test_a_convolutional_network_wins_back_its_accuracy_block_by_block() -> None:
    teacher = model_file.load(SAMPLES / "digits_cnn.onnx")
    student = nets.damaged(teacher, 0.6)
    samples = open_samples(str(SAMPLES / "digits_train.npz"), teacher)
    result, report = recover(student, teacher, samples, RecoverOptions(steps=40))
    assert len(report.details["gradient_norms"]) >= 3
    assert report.details["augment"] == ["crop"]
    with np.load(SAMPLES / "digits_eval.npz") as data:
        x, y = data["image"], data["labels"]
    top1 = [float((Session(m).run({"image": x})["logits"].argmax(1) == y).mean()) for m in (teacher, student, result)]
    assert top1[1] < 0.9
    assert top1[2] > top1[1] + 0.5 * (top1[0] - top1[1])


def test_bad_input_is_refused_in_one_line_that_names_it() -> None:
    teacher = nets.mlp()
    with pytest.raises(UsageError, match="3 samples are too few"):
        recover(teacher, teacher, nets.rows(3), QUICK)
    other = nets.mlp()
    other.graph.outputs[0].name = "z"
    with pytest.raises(InvalidModelError, match="no output y"):
        recover(teacher, other, nets.rows(), QUICK)
    with pytest.raises(UsageError, match="no input is an image"):
        recover(teacher, teacher, nets.rows(), RecoverOptions(steps=1, augment=("flip",)))
    with pytest.raises(UsageError, match="no augmentation blur"):
        RecoverOptions(augment=("blur",))
    with pytest.raises(UsageError, match="not several"):
        RecoverOptions(steps=1, seconds=2)
    empty = nets.build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 8]}, {"y": ["n", 8]}, {})
    with pytest.raises(UnsupportedError, match="no weights"):
        recover(empty, empty, nets.rows(), QUICK)
