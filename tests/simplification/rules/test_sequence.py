"""Splits that go through a sequence."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, rests

RULE = "sequences"
TYPES = "(float[N,6] x, int64 at) => (float[N,c] y, float[N,d] z)"


def parts(sizes: object, first: object = 0, second: object = 1, *, opset: int = 17) -> ir.Model:
    text = f"""{TYPES} {{
        s = SplitToSequence <axis = -1> (x, sizes)
        a = SequenceAt (s, first)
        b = SequenceAt (s, {"at" if second is None else "second"})
        y = Relu (a)
        z = Neg (b)
    }}"""
    numbers = {"sizes": np.asarray(sizes), "first": np.asarray(first)}
    return build(text, opset=opset, **numbers, **({} if second is None else {"second": np.asarray(second)}))


@pytest.mark.parametrize("opset", [11, 13, 17, 18])
@pytest.mark.parametrize("sizes", [[2, 4], 3, [1, 2, 3], 4])
def test_parts_that_are_read_one_by_one_are_a_split(sizes: object, opset: int) -> None:
    fires(RULE, parts(sizes, opset=opset), "Split Relu Neg")


def test_parts_are_counted_from_the_end_too() -> None:
    fires(RULE, parts([1, 2, 3], -1, -3), "Split Relu Neg")


def test_a_part_may_be_read_twice_and_returned() -> None:
    fires(RULE, parts(2, 1, 1), "Split Relu Neg")
    text = """(float[N,6] x) => (float[N,3] y, float[N,3] z) {
        s = SplitToSequence <axis = 1> (x, size) y = SequenceAt (s, zero) z = SequenceAt (s, one) }"""
    fires(RULE, build(text, size=np.asarray(3), zero=np.asarray(0), one=np.asarray(1)), "Split")


def test_a_part_that_is_chosen_at_run_time_needs_the_sequence() -> None:
    rests(RULE, parts(3, 0, None), "which part is read is only known at run time")


def test_a_sequence_that_is_read_as_a_whole_stays() -> None:
    text = """(float[N,6] x) => (float[N,6] y, float[N,3] z) {
        s = SplitToSequence <axis = 1> (x, size) y = ConcatFromSequence <axis = 1> (s) z = SequenceAt (s, zero) }"""
    model = build(text, size=np.asarray(3), zero=np.asarray(0))
    rests(RULE, model, "read as a whole")


def test_a_number_of_parts_that_depends_on_the_batch_stays() -> None:
    text = """(float[N,6] x) => (float[M,6] y) {
        s = SplitToSequence <axis = 0> (x, size) y = SequenceAt (s, zero) }"""
    rests(RULE, build(text, size=np.asarray(1), zero=np.asarray(0)), "how many parts there are")


def test_parts_without_their_axis_are_no_split() -> None:
    text = """(float[N,6] x) => (float[N] y) {
        s = SplitToSequence <axis = 1, keepdims = 0> (x) y = SequenceAt (s, zero) }"""
    rests(RULE, build(text, zero=np.asarray(0)), "lose the axis")


def test_the_parts_keep_their_names() -> None:
    result, _ = simplify(parts(3))
    assert [value.name for value in result.graph[0].outputs] == ["a", "b"]


def test_a_part_that_is_not_there_is_left_to_fail_where_it_did() -> None:
    _, report = simplify(parts(3, 0, 2))
    assert RULE not in report.changed
    assert any("not there" in skipped.reason for skipped in report.skipped)


def test_sizes_that_are_fed_say_nothing() -> None:
    text = """(float[N,6] x, int64[2] sizes) => (float[N,c] y) {
        s = SplitToSequence <axis = 1> (x, sizes) y = SequenceAt (s, zero) }"""
    _, report = simplify(build(text, zero=np.asarray(0)))
    assert any("sizes of the parts" in skipped.reason for skipped in report.skipped)
