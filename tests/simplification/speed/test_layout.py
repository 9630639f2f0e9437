"""What a convolution writes, some nodes later."""

from __future__ import annotations

from onnxslim.simplification.speed.layout import is_behind_convolution
from tests.support.onnx_text import build, floats


def is_last_behind(body: str) -> bool:
    text = f"(float[1,3,5,5] x) => (float[1,A,B,C] y) {{ {body} }}"
    model = build(text, **({"w": floats(3, 3, 1, 1)} if "(x, w)" in text else {}))
    return is_behind_convolution(model.graph.outputs[0])


def test_channel_by_channel_ops_pass_it_on() -> None:
    assert is_last_behind("a = Conv (x, w) b = Sigmoid (a) c = Mul (a, b) y = Relu (c)")
    assert is_last_behind("a = Relu (x) b = MaxPool <kernel_shape = [1,1]> (x) y = Add (a, b)")


def test_what_rearranges_elements_does_not() -> None:
    assert not is_last_behind("a = Conv (x, w) b = Transpose <perm = [0,2,3,1]> (a) y = Relu (b)")
    assert not is_last_behind("a = Relu (x) y = Sigmoid (a)")


def test_a_long_way_is_not_looked_along() -> None:
    steps = " ".join(f"a{n + 1} = Relu (a{n})" for n in range(100))
    assert not is_last_behind(f"a0 = Conv (x, w) {steps} y = Relu (a100)")
