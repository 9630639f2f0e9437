"""Pad into what comes after it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import ROOM, build, equal, fires, floats, rests

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


@st.composite
def padded_windows(draw: st.DrawFn) -> tuple[str, dict[str, np.ndarray], bool]:
    """Text and constants of a Pad before a pool or a Conv of any geometry, and whether that op may pad by itself."""
    rank, kind = draw(st.integers(1, 3)), draw(st.sampled_from(["MaxPool", "AveragePool", "Conv"]))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    own = [draw(st.integers(0, size - 1)) for size in (*kernel, *kernel)]
    added = [draw(st.integers(0, 3)) for _ in own]
    strides = [draw(st.integers(1, 3)) for _ in kernel]
    attributes = f"kernel_shape={kernel}, pads={own}, strides={strides}"
    ceil = kind != "Conv" and draw(st.booleans())
    if kind == "AveragePool":
        attributes += ", count_include_pad=1"
    else:
        attributes += f", dilations={[draw(st.integers(1, 3)) for _ in kernel]}"
    attributes += ", ceil_mode=1" if ceil else ""
    constants = {
        "k": ints(0, 0, *added[:rank], 0, 0, *added[rank:]),
        "v": np.asarray(-np.inf if kind == "MaxPool" else 0, np.float32),
    }
    if kind == "Conv":
        constants["w"] = floats(3, 2, *kernel)
    # no window reaches further than 7 steps: a larger one than its input has no output, and the runtime refuses it
    sizes = ",".join(str(draw(st.integers(7, 9))) for _ in kernel)
    result = ",".join(f"D{axis}" for axis in range(rank))
    channels = 3 if kind == "Conv" else 2
    weight = ", w" if kind == "Conv" else ""
    window = f"{kind} <{attributes}> (p{weight})"
    text = f"(float[N,2,{sizes}] x) => (float[N,{channels},{result}] y) {{ p = Pad (x, k, v) y = {window} }}"
    fits = all(a + b < size for a, b, size in zip(own, added, (*kernel, *kernel), strict=True))
    return text, constants, any(added) and (kind == "Conv" or (fits and not ceil))


@settings(max_examples=60, deadline=None)
@given(padded_windows())
def test_whatever_the_window_the_result_loads_and_is_the_same(drawn: tuple[str, dict[str, np.ndarray], bool]) -> None:
    text, constants, can_move = drawn
    model = build(text, **constants)
    result, report = simplify(model, ROOM)
    equal(model, result)
    assert RULE in report.changed or not can_move


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("own", "added"), [([0, 0, 0, 0], [2, 0, 0, 0]), ([1, 1, 1, 1], [0, 0, 0, 1]), ([0, 0, 0, 0], [3, 3, 3, 3])]
)
def test_a_pool_pads_by_less_than_its_kernel(op: str, own: list[int], added: list[int]) -> None:
    counts = ", count_include_pad=1" if op == "AveragePool" else ""
    text = f"""(float[N,2,5,5] x) => (float[N,2,H,W] y) {{
        p = Pad (x, k, v) y = {op} <kernel_shape=[2,2], pads={own}{counts}> (p)
    }}"""
    fill = np.asarray(-np.inf if op == "MaxPool" else 0, np.float32)
    rests(RULE, build(text, k=ints(0, 0, *added[:2], 0, 0, *added[2:]), v=fill), "smaller than its kernel")


def test_a_pool_that_rounds_up_takes_no_padding_behind() -> None:
    text = """(float[N,2,4] x) => (float[N,2,L] y) {
        p = Pad (x, k, v) y = MaxPool <kernel_shape=[3], strides=[2], ceil_mode=1> (p)
    }"""
    low = np.asarray(-np.inf, np.float32)
    rests(RULE, build(text, k=ints(0, 0, 0, 0, 0, 2), v=low), "rounding up")
    fires(RULE, build(text, k=ints(0, 0, 1, 0, 0, 0), v=low), "MaxPool")


@pytest.mark.parametrize("fill", [-np.inf, np.finfo(np.float32).min])
def test_a_window_of_padding_before_padding_answers_as_it_did(fill: float) -> None:
    text = """(float[N,2,5,5] x) => (float[N,2,H,W] y) {
        q = Pad (x, k, low) p = Pad (q, m, v) y = MaxPool <kernel_shape=[3,3], strides=[2,2]> (p)
    }"""
    arrays = {"k": ints(0, 0, 1, 0, 0, 0, 1, 1), "m": ints(0, 0, 2, 1, 0, 0, 1, 0), "low": np.asarray(-np.inf, np.float32)}
    rests(RULE, build(text, v=np.asarray(fill, np.float32), **arrays), "padded already")


def test_a_dilated_pool_must_reach_its_input() -> None:
    text = """(float[N,2,L] x) => (float[N,2,M] y) {
        p = Pad (x, k, v) y = MaxPool <kernel_shape=[2], dilations=[3]> (p)
    }"""
    rests(RULE, build(text, k=ints(0, 0, 1, 0, 0, 1), v=np.asarray(-np.inf, np.float32)), "nothing but padding")


@pytest.mark.parametrize(
    ("size", "pads", "weight", "reason"),
    [
        ((128, 1), (31, 0, 32, 0), (4, 16, 64, 1), "column of 128"),
        ((64, 1), (4, 0, 4, 0), (4, 2, 9, 1), "column of 64"),
        ((14, 14), (3, 3, 3, 3), (4, 16, 7, 7), "6 of 14 outputs"),
        ((1, 128), (0, 31, 0, 32), (4, 16, 1, 64), "63 of 128 outputs"),
    ],
)
def test_wide_padding_stays_in_front_of_a_convolution(
    size: tuple[int, ...], pads: tuple[int, ...], weight: tuple[int, ...], reason: str
) -> None:
    """The first is what a pitch tracker has: with the padding inside it ran at 0.45 times its speed."""
    text = f"(float[N,{weight[1]},{size[0]},{size[1]}] x) => (float[N,4,H,W] y) {{ p = Pad (x, k) y = Conv (p, w) }}"
    rests(RULE, build(text, k=ints(0, 0, *pads[:2], 0, 0, *pads[2:]), w=floats(*weight)), reason)


@pytest.mark.parametrize(
    ("size", "pads", "weight", "group"),
    [
        ((14, 14), (1, 1, 1, 1), (4, 16, 3, 3), 1),
        ((14, 14), (3, 3, 3, 3), (16, 1, 7, 7), 16),
        ((28, 28), (2, 2, 2, 2), (4, 16, 5, 5), 1),
        ((16, 1), (1, 0, 1, 0), (4, 16, 3, 1), 1),
        ((7, 7), (2, 2, 2, 2), (4, 16, 5, 5), 1),
    ],
)
def test_narrow_padding_and_cheap_windows_take_it(
    size: tuple[int, ...], pads: tuple[int, ...], weight: tuple[int, ...], group: int
) -> None:
    channels = weight[1] * group
    text = f"""(float[N,{channels},{size[0]},{size[1]}] x) => (float[N,{weight[0]},H,W] y) {{
        p = Pad (x, k) y = Conv <group = {group}> (p, w) }}"""
    fires(RULE, build(text, k=ints(0, 0, *pads[:2], 0, 0, *pads[2:]), w=floats(*weight)), "Conv")
