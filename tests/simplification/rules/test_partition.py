"""Slices that are all of a tensor."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, rests

RULE = "slices that part"
NUMBERS = {"zero": 0, "one": 1, "two": 2, "three": 3, "six": 6, "last": -1, "end": 2**63 - 1}
BOUNDS = {name: np.asarray([number]) for name, number in NUMBERS.items()}


def cuts(*bounds: str, dims: str = "N,6", axis: str = "one", more: str = "") -> str:
    lines = [f"p{i} = Slice (x, {start}, {end}, {axis})" for i, (start, end) in enumerate(map(str.split, bounds))]
    joined = "y = Concat <axis = 1> (" + ", ".join(f"p{i}" for i in reversed(range(len(bounds)))) + ")"
    return f"(float[{dims}] x) => (float[N,M] y) {{ {' '.join(lines)} {more} {joined} }}"


@pytest.mark.parametrize(
    "bounds", [("zero two", "two three", "three six"), ("two end", "zero two"), ("zero last", "last end")]
)
def test_slices_that_take_each_element_once_are_a_split(bounds: tuple[str, ...]) -> None:
    fires(RULE, build(cuts(*bounds), **BOUNDS), "Split Concat")


def test_before_opset_13_the_sizes_are_an_attribute() -> None:
    fires(RULE, build(cuts("zero two", "two end"), opset=12, **BOUNDS), "Split Concat")


def test_a_slice_that_is_an_output_keeps_its_name() -> None:
    text = cuts("zero two", "two end").replace("(float[N,M] y)", "(float[N,M] y, float[N,2] p0)")
    result, report = simplify(build(text, **BOUNDS))
    assert RULE in report.changed
    assert [value.name for value in result.graph.outputs] == ["y", "p0"]


@pytest.mark.parametrize(
    "bounds",
    [("zero two", "three six"), ("zero three", "two six"), ("zero two", "two three"), ("zero two", "zero two")],
    ids=["a gap", "an overlap", "not to the end", "the same twice"],
)
def test_not_when_an_element_is_left_or_taken_twice(bounds: tuple[str, ...]) -> None:
    rests(RULE, build(cuts(*bounds), **BOUNDS))


def test_not_along_a_free_dimension() -> None:
    text = """(float[N,6] x) => (float[N,6] y) {
        a = Slice (x, zero, one, zero)
        b = Slice (x, one, end, zero)
        y = Concat <axis = 0> (b, a)
    }"""
    rests(RULE, build(text, **BOUNDS))


def test_not_with_a_step() -> None:
    text = """(float[N,6] x) => (float[N,M] y) {
        a = Slice (x, zero, three, one)
        b = Slice (x, three, end, one, two)
        y = Concat <axis = 1> (a, b)
    }"""
    rests(RULE, build(text, **BOUNDS))
