"""Which student is better, and which teacher fits it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import InvalidModelError
from onnxslim.recovery.distillation.teacher import StudentScore, check_same_interface
from tests.support import torch_graphs as nets


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


def test_teacher_and_student_must_take_and_give_the_same() -> None:
    other = nets.mlp()
    other.graph.outputs[0].name = "z"
    with pytest.raises(InvalidModelError, match="teacher has no output y"):
        check_same_interface(nets.mlp(), other)
    wide = nets.mlp()
    wide.graph.inputs[0].shape = nets.ir.Shape(["n", 9])
    with pytest.raises(InvalidModelError, match="input x"):
        check_same_interface(nets.mlp(), wide)
