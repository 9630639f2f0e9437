"""Transposes of transposes."""

from __future__ import annotations

from tests.support.onnx_text import build, fires, rests

RULE = "transposes"


def test_there_and_back_is_nothing() -> None:
    text = """(float[N,3,4] x) => (float[N,3,4] y) {
        a = Transpose <perm=[2,0,1]> (x)
        b = Transpose <perm=[1,2,0]> (a)
        y = Relu (b)
    }"""
    fires(RULE, build(text), "Relu")


def test_two_are_one_even_when_the_first_is_read_elsewhere() -> None:
    text = """(float[N,3,4] x) => (float[3,N,4] y, float[4,N,3] z) {
        a = Transpose <perm=[2,0,1]> (x)
        y = Transpose <perm=[2,1,0]> (a)
        z = Relu (a)
    }"""
    fires(RULE, build(text), "Transpose Transpose Relu")


def test_without_perm_the_axes_are_reversed() -> None:
    text = "(float[N,3] x) => (float[N,3] y) { a = Transpose (x) b = Transpose (a) y = Relu (b) }"
    fires(RULE, build(text), "Relu")


def test_one_that_only_moves_axes_of_size_1_is_a_view() -> None:
    text = "(float[N,1,3,4] x) => (float[N,12] y) { a = Transpose <perm=[0,2,3,1]> (x) f = Flatten (a) y = Relu (f) }"
    fires(RULE, build(text), "Reshape Relu")


def test_nearly_a_view_when_two_long_axes_change_places() -> None:
    rests(RULE, build("(float[N,1,3,4] x) => (float[N,4,3,1] y) { y = Transpose <perm=[0,3,2,1]> (x) }"))


def test_not_a_single_one() -> None:
    rests(RULE, build("(float[N,3] x) => (float[3,N] y) { y = Transpose (x) }"))


def test_nearly_a_pair_with_something_between() -> None:
    text = "(float[N,3] x) => (float[N,3] y) { a = Transpose (x) b = Softmax <axis=0> (a) y = Transpose (b) }"
    rests(RULE, build(text))
