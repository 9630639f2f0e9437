"""BatchNormalization(Conv(x))."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, floats, rests

RULE = "conv+batchnorm"
LAYER = "c = Conv (x, w) y = BatchNormalization (c, s, h, m, v)"
NORM = {"s": floats(6, seed=1), "h": floats(6, seed=2), "m": floats(6, seed=3), "v": np.abs(floats(6, seed=4))}


@pytest.mark.parametrize("bias", ["", ", b"])
@pytest.mark.parametrize("group", [1, 2])
def test_a_convolution_takes_in_the_normalisation_after_it(bias: str, group: int) -> None:
    text = f"""(float[N,4,5,5] x) => (float[N,6,3,3] y) {{
        c = Conv <group={group}> (x, w{bias})
        y = BatchNormalization <epsilon=0.01> (c, s, h, m, v)
    }}"""
    arrays = {"w": floats(6, 4 // group, 3, 3), **NORM, **({"b": floats(6)} if bias else {})}
    fires(RULE, build(text, **arrays), "Conv")


@pytest.mark.parametrize("group", [1, 2])
def test_a_transposed_convolution_has_its_output_channels_elsewhere(group: int) -> None:
    text = f"""(float[N,4,5,5] x) => (float[N,6,7,7] y) {{
        c = ConvTranspose <group={group}> (x, w)
        y = BatchNormalization (c, s, h, m, v)
    }}"""
    fires(RULE, build(text, w=floats(4, 6 // group, 3, 3), **NORM), "ConvTranspose")


@pytest.mark.parametrize("turned", [0, 1])
def test_a_gemm_with_factors_takes_it_in(turned: int) -> None:
    text = f"""(float[N,4] x) => (float[N,6] y) {{
        c = Gemm <transB={turned}, alpha=0.5, beta=2.0> (x, w, b)
        y = BatchNormalization (c, s, h, m, v)
    }}"""
    fires(RULE, build(text, w=floats(*((6, 4) if turned else (4, 6))), b=floats(6), **NORM), "Gemm")


def test_not_when_the_convolution_is_read_elsewhere() -> None:
    text = f"(float[N,4,5,5] x) => (float[N,6,3,3] y, float[N,6,3,3] z) {{ {LAYER} z = Relu (c) }}"
    rests(RULE, build(text, w=floats(6, 4, 3, 3), **NORM), "read elsewhere")


def test_not_when_the_statistics_come_from_the_caller() -> None:
    text = f"(float[N,4,5,5] x, float[6] m) => (float[N,6,3,3] y) {{ {LAYER} }}"
    arrays = {name: array for name, array in NORM.items() if name != "m"}
    rests(RULE, build(text, w=floats(6, 4, 3, 3), **arrays), "not constants")


def test_not_when_a_caller_may_override_the_weights() -> None:
    text = f"(float[N,4,5,5] x, float[6,4,3,3] w) => (float[N,6,3,3] y) {{ {LAYER} }}"
    rests(RULE, build(text, w=floats(6, 4, 3, 3), **NORM), "not constants", kept_inputs=["w"])


def test_in_ir_version_3_initializers_are_listed_as_inputs_and_still_constants() -> None:
    names = {"w": (6, 4, 3, 3), **dict.fromkeys(NORM, (6,))}
    listed = ", ".join(f"float[{','.join(map(str, shape))}] {name}" for name, shape in names.items())
    text = f"(float[N,4,5,5] x, {listed}) => (float[N,6,3,3] y) {{ {LAYER} }}"
    model = build(text, opset=9, ir_version=3, w=floats(6, 4, 3, 3), **NORM)
    fires(RULE, model, "Conv")
    result, _ = simplify(model)
    assert result.ir_version == 3
    assert {value.name for value in result.graph.inputs} == {"x", *result.graph.initializers}


def test_nearly_training_mode_normalises_by_its_batch() -> None:
    text = """(float[N,4,5,5] x) => (float[N,6,3,3] y, float[6] a, float[6] b) {
        c = Conv (x, w)
        y, a, b = BatchNormalization <training_mode=1> (c, s, h, m, v)
    }"""
    rests(RULE, build(text, w=floats(6, 4, 3, 3), **NORM), "training mode")


def test_the_layer_and_its_bias_keep_names_that_say_what_they_are() -> None:
    model = build(
        """(float[N,2,5,5] x) => (float[N,3,3,3] y) {
            c = Conv (x, w) n = BatchNormalization (c, g, beta, m, v) y = Relu (n)
        }""",
        w=floats(3, 2, 3, 3), g=floats(3), beta=floats(3), m=floats(3), v=np.abs(floats(3)),
    )  # fmt: skip
    for node, name in zip(model.graph, ("layer", "norm", "relu"), strict=True):
        node.name = name
    result, _ = simplify(model)
    assert [node.name for node in result.graph] == ["layer", "relu"]
    assert list(result.graph.initializers) == ["w", "beta"]
