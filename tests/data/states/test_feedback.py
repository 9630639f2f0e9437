"""Pairs that cannot be carried are refused with what was expected, before anything runs."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.model_inputs import build_inputs
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.pairs import ModelOutput

INPUTS = build_inputs({"x": (ir.DataType.FLOAT, (1, 16)), "h": (ir.DataType.FLOAT, (2, "batch", 8))})


def make(output_dims: tuple[int | str | None, ...], pairs: dict[str, str] | None = None) -> StateFeedback:
    declared = [ModelOutput("y", ir.DataType.FLOAT, (1, 4)), ModelOutput("h_out", ir.DataType.FLOAT, output_dims)]
    return StateFeedback({"h_out": "h"} if pairs is None else pairs, ["y", "h_out"], lambda feeds: feeds, declared)


@pytest.mark.parametrize(("dims", "where"), [((2, 1, 9), "axis 2"), ((3, "batch", 8), "axis 0"), ((2, 8), "ranks")])
def test_sides_that_differ_in_a_fixed_dimension_are_refused(dims: tuple[int | str | None, ...], where: str) -> None:
    with pytest.raises(InvalidDataError, match=rf"h_out=h: the output has shape .* expected \(2, batch, 8\).*{where}"):
        make(dims).check(INPUTS)


@pytest.mark.parametrize("dims", [(2, 1, 8), (2, None, 8), (None, None, None)])
def test_free_dimensions_are_no_difference(dims: tuple[int | str | None, ...]) -> None:
    make(dims).check(INPUTS)


def test_an_input_left_open_is_named_with_what_could_be_fed_back_to_it() -> None:
    feedback = make((2, 1, 8), {"y": "x"})
    with pytest.raises(UsageError, match=r"no 'h' .*nothing is fed back") as caught:
        feedback.check_fed(INPUTS, ["z"])
    assert "--state h_out=h" in str(caught.value.hint)
    feedback.check_fed(INPUTS, ["h"])
    make((2, 1, 8)).check_fed(INPUTS, ["x"])


def test_the_shape_of_what_is_fed_back_is_known_by_the_input() -> None:
    feedback = make((2, None, 8))
    assert feedback.get_output_dims("h") == (2, None, 8)
    assert feedback.get_output_dims("x") is None
