"""Parts of length one that lose their axis."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "unbound"
AXES = {"zero": np.asarray([0]), "one": np.asarray([1])}


@pytest.mark.parametrize(("opset", "attribute"), [(17, ""), (18, "num_outputs = 3, ")])
def test_each_part_is_picked(opset: int, attribute: str) -> None:
    model = build(
        f"""(float[N,3,4] x) => (float[N,4] y) {{
            a, b, c = Split <{attribute}axis = 1> (x)
            p = Squeeze (a, one)
            q = Squeeze (b, one)
            r = Squeeze (c, one)
            s = Mul (p, q)
            y = Sub (s, r)
        }}""",
        opset=opset,
        **AXES,
    )
    fires(RULE, model, "Gather Gather Gather Mul Sub")


def test_a_part_that_nobody_reads_and_one_that_two_read() -> None:
    model = build(
        """(float[3,N,4] x) => (float[N,4] y) {
            a, b, c = Split <axis = 0> (x)
            p = Squeeze (a, zero)
            r = Squeeze (c, zero)
            q = Squeeze (a, zero)
            s = Relu (q)
            t = Add (p, r)
            y = Add (s, t)
        }""",
        **AXES,
    )
    fires(RULE, model, "Gather Gather Relu Add Add")


def test_opset_12_names_the_axis_in_an_attribute() -> None:
    model = build(
        """(float[N,2,4] x) => (float[N,4] y) {
            a, b = Split <axis = -2> (x)
            p = Squeeze <axes = [1]> (a)
            q = Squeeze <axes = [1]> (b)
            y = Add (p, q)
        }""",
        opset=12,
    )
    fires(RULE, model, "Gather Gather Add")


@pytest.mark.parametrize(("reader", "reason"), [("Relu (b)", "read as it is"), ("Squeeze (b, two)", "loses another axis")])
def test_not_when_a_part_is_read_otherwise(reader: str, reason: str) -> None:
    model = build(
        f"""(float[N,2,1] x) => (float[N,1] y, float[N,A] z) {{
            a, b = Split <axis = 1> (x)
            y = Squeeze (a, one)
            w = {reader}
            v = Relu (w)
            z = Flatten (v)
        }}""",
        two=np.asarray([2]),
        **AXES,
    )
    rests(RULE, model, reason)


def test_not_when_a_part_is_an_output() -> None:
    model = build(
        """(float[N,2,4] x) => (float[N,4] y, float[N,1,4] b) {
            a, b = Split <axis = 1> (x)
            y = Squeeze (a, one)
        }""",
        **AXES,
    )
    rests(RULE, model, "an output of the graph")


def test_parts_of_length_two_stay() -> None:
    model = build(
        """(float[N,4,4] x) => (float[N,2,4] y) {
            a, b = Split <axis = 1> (x)
            y = Add (a, b)
        }"""
    )
    rests(RULE, model)
