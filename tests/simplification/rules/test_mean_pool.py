"""ReduceMean over the image."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, floats, rests

RULE = "global pools"


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_the_mean_of_an_image_is_a_global_pool(axes: list[int]) -> None:
    text = f"(float[N,3,5,5] x) => (float[N,3,1,1] y) {{ a = Conv (x, w) b = Relu (a) y = ReduceMean <axes={axes}> (b) }}"
    fires(RULE, build(text, w=floats(3, 3, 1, 1)), "Conv Relu GlobalAveragePool")


def test_since_opset_18_axes_are_an_input() -> None:
    text = "(float[N,3,5,5] x) => (float[N,3,1,1] y) { m = MaxPool <kernel_shape=[1,1]> (x) y = ReduceMean (m, a) }"
    fires(RULE, build(text, opset=18, a=np.asarray([2, 3], np.int64)), "MaxPool GlobalAveragePool")


def test_not_of_what_no_convolution_makes() -> None:
    text = "(float[N,3,5,5] x) => (float[N,3,1,1] y) { a = Relu (x) y = ReduceMean <axes=[2,3]> (a) }"
    rests(RULE, build(text), "slower")


def test_not_when_the_axes_are_dropped() -> None:
    text = "(float[N,3,5,5] x) => (float[N,3] y) { y = ReduceMean <axes=[2,3], keepdims=0> (x) }"
    rests(RULE, build(text), "drops the spatial axes")


@pytest.mark.parametrize("axes", ["[1,2]", "[3]", "[1,2,3]"])
def test_nearly_the_image(axes: str) -> None:
    rests(RULE, build(f"(float[N,3,5,5] x) => (float[N,A,B,C] y) {{ y = ReduceMean <axes={axes}> (x) }}"))
