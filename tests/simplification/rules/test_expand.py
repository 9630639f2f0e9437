"""Expand to what is there already."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "expansions"


@pytest.mark.parametrize("target", [(1, 4), (4,), (1,), (1, 1, 4)[1:]])
def test_asking_for_nothing_more_is_nothing(target: tuple[int, ...]) -> None:
    text = "(float[N,4] x) => (float[N,4] y) { e = Expand (x, s) y = Relu (e) }"
    fires(RULE, build(text, s=np.asarray(target, np.int64)), "Relu")


def test_asking_for_its_own_shape_is_nothing() -> None:
    text = "(float[N,L] x) => (float[N,L] y) { s = Shape (x) e = Expand (x, s) y = Relu (e) }"
    fires(RULE, build(text), "Relu")


def test_not_to_more_axes() -> None:
    text = "(float[N,4] x) => (float[1,N,4] y) { y = Expand (x, s) }"
    rests(RULE, build(text, s=np.asarray([1, 1, 1], np.int64)))


def test_nearly_its_own_shape() -> None:
    text = "(float[1,L] x, float[N,L] z) => (float[N,L] y) { s = Shape (z) y = Expand (x, s) }"
    rests(RULE, build(text))
