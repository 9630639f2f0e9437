"""The plan of a training: its length, and what it is refused for."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.model_io import model_file
from onnxslim.recovery.distillation import planning
from onnxslim.recovery.distillation.training_plan import TrainingPlan
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from tests.support import torch_graphs as nets
from tests.support.torch_graphs import error, fresh


def test_a_narrower_student_learns_from_a_wider_teacher() -> None:
    teacher = nets.mlp(hidden=16)
    narrow = nets.arrays(teacher)
    narrow["w1"], narrow["b1"], narrow["w2"] = narrow["w1"][:, :10], narrow["b1"][:10], narrow["w2"][:10]
    student = model_file.clone(teacher)
    for name, array in narrow.items():
        value = student.graph.initializers[name]
        value.const_value, value.shape = ir.tensor(array.copy(), name=name), ir.Shape(array.shape)
    for node in student.graph:
        node.outputs[0].shape = None
    result, _ = recover(student, teacher, nets.rows(1000), RecoverOptions(steps=150, lr=1e-2))
    assert error(result, teacher, fresh()) < 0.5 * error(student, teacher, fresh())


def test_a_time_budget_is_kept() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    _, report = recover(student, teacher, nets.rows(), RecoverOptions(seconds=2))
    assert report.seconds < 6
    assert report.details["steps"] >= 1


def test_of_what_is_large_inside_an_update_is_run_in_more_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, options = nets.damaged(nets.mlp(), 0.5), nets.mlp(), RecoverOptions(steps=20)
    counts = list[int]()
    set_step_budget = planning.set_step_budget

    def count(plan: TrainingPlan, *arguments: Any) -> TrainingPlan:
        counts.append(plan.micro_batches)
        return set_step_budget(plan, *arguments)

    monkeypatch.setattr("onnxslim.recovery.distillation.distill.set_step_budget", count)
    whole, _ = recover(student, teacher, nets.rows(), options)
    monkeypatch.setattr(planning, "_MAX_PART_BYTES", 1)
    parts, _ = recover(student, teacher, nets.rows(), options)
    assert counts[0] == 4 < counts[1] == options.batch_size
    assert error(parts, whole, fresh()) < 0.1 * error(whole, student, fresh())
