"""What reads a tensor, followed to one tensor value by value; against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from scipy.special import erf

from onnxslim.quantization.calibration.pointwise_readers import evaluate_pointwise_readers

SAMPLES = np.linspace(-9.0, 7.0, 101)


def evaluate(body: str, output: str = "y", opset: int = 17, outputs: str | None = None) -> np.ndarray | None:
    """Of the tensor ``c``, a convolution's output, in a graph that goes on with ``body``."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[1,2,4,4] x) => ({outputs or f"float[1,2,4,4] {output}"})
    <float[2,2,1,1] W = {{1, 2, 3, 4}}, float half = {{0.5}}, float[1] one = {{1}}, float root = {{1.4142135}},
     float zero = {{0}}, float[2,1,1] each = {{1, 2}}>
    {{ c = Conv(x, W) {body} }}"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    return evaluate_pointwise_readers(model.graph[0].outputs[0], SAMPLES, opset)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = Sigmoid(c) y = Mul(c, s)", lambda x: x * sigmoid(x)),
        ("y = HardSwish(c)", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        ("s = HardSigmoid <alpha = 0.1666667, beta = 0.5> (c) y = Mul(s, c)", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        (
            "a = Div(c, root) b = Erf(a) d = Add(b, one) e = Mul(c, d) y = Mul(e, half)",
            lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
        ),
        ("a = Softplus(c) b = Tanh(a) m = Mul(c, b) y = Conv(m, W)", lambda x: x * np.tanh(np.logaddexp(0, x))),
        ("s = Sigmoid(c) y = Add(s, x)", sigmoid),  # what else a sum reads is not the tensor's
        ("y = LeakyRelu <alpha = 0.1> (c)", lambda x: np.where(x < 0, 0.1 * x, x)),
    ],
)
def test_a_function_of_each_value_is_followed_to_its_end(body: str, expected: Callable[[np.ndarray], np.ndarray]) -> None:
    found = evaluate(body)
    assert found is not None
    np.testing.assert_allclose(found, expected(SAMPLES), atol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "y = Conv(c, W)",  # read as it is
        "y = Mul(c, each)",  # another function for each channel
        "s = Sigmoid(c) d = Conv(c, W) y = Mul(s, d)",  # read in two ways that are not one function
        "y = Mul(c, zero)",  # nothing is left of it
        "y = Sqrt(c)",  # not finite everywhere
        "y = ReduceMean(c)",
    ],
)
def test_what_is_no_function_of_each_value_is_declined(body: str) -> None:
    assert evaluate(body) is None


def test_what_is_an_output_too_is_read_as_it_is() -> None:
    assert evaluate("y = Sigmoid(c)", outputs="float[1,2,4,4] y, float[1,2,4,4] c") is None
