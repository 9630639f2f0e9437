"""Which teacher fits a student."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import InvalidModelError
from onnxslim.recovery.distillation.teacher import check_same_interface
from tests.support import torch_graphs as nets


def test_teacher_and_student_must_take_and_give_the_same() -> None:
    other = nets.mlp()
    other.graph.outputs[0].name = "z"
    with pytest.raises(InvalidModelError, match="teacher has no output y"):
        check_same_interface(nets.mlp(), other)
    wide = nets.mlp()
    wide.graph.inputs[0].shape = nets.ir.Shape(["n", 9])
    with pytest.raises(InvalidModelError, match="input x"):
        check_same_interface(nets.mlp(), wide)
