"""Pad into what comes after it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, floats, rests

RULE = "pads"


def ints(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


ROUND = ints(0, 0, 1, 2, 0, 0, 3, 0)


@pytest.mark.parametrize("pads", ["", ", pads=[1,1,0,0]"])
def test_zeros_around_the_image_become_the_convolutions_own(pads: str) -> None:
    text = f"(float[N,2,5,5] x) => (float[N,3,H,W] y) {{ p = Pad (x, k) y = Conv <kernel_shape=[3,3]{pads}> (p, w) }}"
    fires(RULE, build(text, k=ROUND, w=floats(3, 2, 3, 3)), "Conv")


def test_before_opset_11_amounts_are_attributes() -> None:
    text = "(float[N,2,5,5] x) => (float[N,3,H,W] y) { p = Pad <pads=[0,0,1,2,0,0,3,0]> (x) y = Conv (p, w) }"
    fires(RULE, build(text, opset=9, w=floats(3, 2, 3, 3)), "Conv")


def test_since_opset_18_axes_may_be_named() -> None:
    text = "(float[N,2,5,5] x) => (float[N,3,H,W] y) { p = Pad (x, k, , a) y = Conv (p, w) }"
    fires(RULE, build(text, opset=18, k=ints(1, 2, 3, 0), a=ints(-1, 2), w=floats(3, 2, 3, 3)), "Conv")


def test_padding_with_minus_infinity_is_what_a_max_pool_does() -> None:
    text = "(float[N,2,5,5] x) => (float[N,2,H,W] y) { p = Pad (x, k, v) y = MaxPool <kernel_shape=[3,3]> (p) }"
    low = np.asarray(-np.inf, np.float32)
    fires(RULE, build(text, k=ints(0, 0, 1, 2, 0, 0, 2, 0), v=low), "MaxPool")


def test_padding_by_nothing_is_nothing() -> None:
    text = "(float[N,2,5,5] x) => (float[N,2,5,5] y) { p = Pad <mode='reflect'> (x, k) y = Relu (p) }"
    fires(RULE, build(text.replace("'", '"'), k=ints(0, 0, 0, 0, 0, 0, 0, 0)), "Relu")


@pytest.mark.parametrize(
    ("pad", "conv", "amounts", "reason"),
    [
        ('<mode="reflect">', "", ROUND, "repeats values"),
        ("", "", ints(0, 1, 0, 0, 0, 1, 0, 0), "more than widen"),
        ("", "", ints(0, 0, -1, 0, 0, 0, 0, 0), "more than widen"),
        ("", '<auto_pad="SAME_UPPER">', ROUND, "chooses its own"),
    ],
)
def test_not_another_kind_of_padding(pad: str, conv: str, amounts: np.ndarray, reason: str) -> None:
    channels = 2 + int(amounts[1] + amounts[5])
    text = f"(float[N,2,5,5] x) => (float[N,3,H,W] y) {{ p = Pad {pad} (x, k) y = Conv {conv} (p, w) }}"
    rests(RULE, build(text, k=amounts, w=floats(3, channels, 3, 3)), reason)


def test_not_zeros_before_a_max_pool() -> None:
    text = "(float[N,2,5,5] x) => (float[N,2,H,W] y) { p = Pad (x, k) y = MaxPool <kernel_shape=[3,3]> (p) }"
    rests(RULE, build(text, k=ROUND), "pads with -∞")


def test_nearly_zeros() -> None:
    text = "(float[N,2,5,5] x) => (float[N,3,H,W] y) { p = Pad (x, k, v) y = Conv (p, w) }"
    rests(RULE, build(text, k=ROUND, v=np.asarray(0.1, np.float32), w=floats(3, 2, 3, 3)), "not fill with zeros")


@pytest.mark.parametrize("counts", [0, 1])
def test_an_average_pool_must_count_its_padding(counts: int) -> None:
    text = f"""(float[N,2,5,5] x) => (float[N,2,H,W] y) {{
        p = Pad (x, k)
        y = AveragePool <kernel_shape=[3,3], count_include_pad={counts}> (p)
    }}"""
    model = build(text, k=ints(0, 0, 1, 1, 0, 0, 1, 1))
    if counts:
        fires(RULE, model, "AveragePool")
    else:
        rests(RULE, model, "no longer count the padding")
