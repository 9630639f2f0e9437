"""The plan of a training: its length, and what it is refused for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.model_io import model_file
from onnxslim.recovery.distillation import planning
from onnxslim.recovery.distillation.training_plan import TrainingPlan
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.recovery.torch_model.blocks import match_cuts
from onnxslim.recovery.torch_model.trainable_weights import find_weights
from onnxslim.runtime.session import check_loads
from tests.support import nets as small
from tests.support import torch_graphs as nets
from tests.support.mask_oracle import remove_units
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


def test_the_time_of_an_update_is_the_mean_of_different_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []

    def take(plan: TrainingPlan, step: int) -> float:
        timed.append(step)
        return 1.0 + step

    monkeypatch.setattr(planning, "time_update", take)
    plan: Any = None
    assert planning._time_updates(plan, -1.0) == 2.0
    assert timed == [0, 1, 2]
    assert planning._time_updates(plan, 1e9) == 8.5
    assert timed[3:] == list(range(16))


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


@pytest.mark.parametrize("free", [False, True], ids=["sizes known", "sizes unknown"])
def test_a_stream_that_lost_channels_learns_from_those_that_it_kept(free: bool) -> None:
    teacher = small.residual(blocks=3)
    samples = small.samples(teacher, 64)
    analysis = analyze_channels(teacher)
    readers = Counter(int(unit) for site in analysis.sites for unit in np.unique(analysis.labels[site.labels]))
    stream = [unit for unit, _ in readers.most_common(3)]
    student = remove_units(teacher, stream, analysis)
    if free:
        for model in (student, teacher):
            for value in (output for node in model.graph for output in node.outputs):
                value.shape = None if not value.is_graph_output() else value.shape
    result, report = recover(student, teacher, samples, RecoverOptions(steps=30, lr=1e-2))
    assert report.details["narrowed"]
    assert report.details["unmatched"] == []
    assert report.skipped == []
    assert report.details["after"]["error"] < report.details["before"]["error"]
    check_loads(result)


def test_a_tensor_without_a_twin_is_named_once_and_left_out() -> None:
    teacher, student = small.residual(blocks=3), nets.damaged(small.residual(blocks=3), 0.3)
    cuts = match_cuts(student, teacher, list(find_weights(student.graph)))[0]
    for value in (output for node in student.graph for output in node.outputs if output.name in cuts):
        value.name = f"{value.name}_renamed"
    _, report = recover(student, teacher, small.samples(teacher, 64), RecoverOptions(steps=5))
    assert report.details["unmatched"] == [f"{name}_renamed" for name in cuts]
    assert [(entry.node, "no twin of it" in entry.reason) for entry in report.skipped] == [(f"{cuts[0]}_renamed", True)]
