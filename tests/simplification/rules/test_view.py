"""Reshape, Flatten, Squeeze and Unsqueeze."""

from __future__ import annotations

import numpy as np

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, rests

RULE = "reshapes"


def ints(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


def test_views_that_end_where_they_began_are_nothing() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { u = Unsqueeze (x, a) f = Flatten (u) y = Relu (f) }"
    fires(RULE, build(text, a=ints(2)), "Relu")


def test_a_view_of_a_view_is_one_view() -> None:
    text = "(float[N,4,6] x) => (float[N,2,12] y) { f = Flatten (x) r = Reshape (f, s) y = Relu (r) }"
    fires(RULE, build(text, s=ints(0, 2, 12)), "Reshape Relu")


def test_a_computed_target_becomes_constant_when_one_free_dimension_is_left() -> None:
    text = """(float[N,4,6] x) => (float[M,2,12] y) {
        d = Shape (x)
        n = Gather (d, i)
        t = Concat <axis=0> (n, c)
        r = Reshape (x, t)
        y = Relu (r)
    }"""
    report = fires(RULE, build(text, i=ints(0), c=ints(2, -1)), "Reshape Relu")
    assert report.details["nodes"] == {"before": 5, "after": 2}


def test_two_free_dimensions_are_both_copied() -> None:
    text = """(float[N,L,12] x) => (float[N,L,3,4] y) {
        d = Shape (x)
        n = Gather (d, i)
        l = Gather (d, j)
        t = Concat <axis=0> (n, l, c)
        y = Reshape (x, t)
    }"""
    model = build(text, i=ints(0), j=ints(1), c=ints(3, 4))
    fires(RULE, model, "Reshape")
    (value,) = simplify(model)[0].graph.initializers.values()
    assert value.const_value is not None
    assert value.const_value.numpy().tolist() == [0, 0, 3, 4]


def test_not_when_two_dimensions_change_places() -> None:
    text = """(float[N,L,12] x) => (float[P,Q,12] y) {
        d = Shape (x)
        n = Gather (d, i)
        l = Gather (d, j)
        t = Concat <axis=0> (l, n, c)
        y = Reshape (x, t)
    }"""
    rests(RULE, build(text, i=ints(0), j=ints(1), c=ints(12)), "only known at run time")


def test_not_a_dimension_of_no_elements_that_the_source_has_not() -> None:
    text = "(float[N,0,6] x) => (float[P,5,2] y) { u = Unsqueeze (x, a) y = Reshape <allowzero=1> (u, s) }"
    rests(RULE, build(text, a=ints(1), s=ints(0, 5, 2)))


def test_nearly_the_same_dimensions_in_another_order() -> None:
    text = "(float[2,3] x) => (float[3,2] y) { y = Reshape (x, s) }"
    rests(RULE, build(text, s=ints(3, 2)))


def test_what_is_inferred_at_run_time_is_known_from_the_number_of_elements() -> None:
    """As PyTorch's attention lays out a mask: (N, 1, 1, M) → (4N, 1, M) → (N, 4, -1, M)."""
    text = """(float[N,M] x) => (float[N,4,1,M] y) {
        n = Shape <start = 0, end = 1> (x)
        m = Shape <start = 1, end = 2> (x)
        u = Unsqueeze (x, middle)
        t = Concat <axis = 1> (u, u, u, u)
        many = Mul (n, four)
        folded = Concat <axis = 0> (many, one, m)
        v = Reshape <allowzero = 1> (t, folded)
        apart = Concat <axis = 0> (n, four, rest, m)
        y = Reshape <allowzero = 1> (v, apart)
    }"""
    numbers = {name: np.asarray([n]) for name, n in {"one": 1, "four": 4, "rest": -1}.items()}
    model = build(text, middle=np.asarray([1, 2]), **numbers)
    fires(RULE, model, "Unsqueeze Concat")


def test_a_vector_made_a_vector() -> None:
    text = """(float[N] x) => (float[M] y) { z = NonZero (x) i = Squeeze (z, zero) c = Cast <to = 1> (i)
        v = Reshape (c, flat) y = Relu (v) }"""
    fires(RULE, build(text, zero=np.asarray([0]), flat=np.asarray([-1])), "NonZero Squeeze Cast Relu")
