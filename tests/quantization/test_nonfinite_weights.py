"""What a weight makes NaN or infinite stays so: the layer stays in float, and that is said without being asked."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.data.sources import open_samples
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.simplification.step import simplify
from tests.support.quantize_graphs import model, weight

SCHEMES = {
    **{text: QuantizeOptions(weights=text) for text in ("int8", "int4", "int8:qdq", "int4:qdq", "codebook:16", "float16")},
    "static": QuantizeOptions(activations="static", placement="static", target="cpu", min_sqnr=0.0),
    "dynamic": QuantizeOptions(activations="dynamic", placement="static", target="cpu"),
    "float16": QuantizeOptions(target="cuda"),
}
X = np.random.default_rng(3).standard_normal((16, 64)).astype(np.float32)


def build(place: tuple[str, int], value: float) -> ir.Model:
    arrays = {"u": weight(64, 64), "w": weight(64, 64), "b": weight(64), "v": weight(64, 64)}
    name, index = place
    arrays[name].flat[index] = value
    return model(
        """g (float[n,64] x) => (float[n,64] y, float[n,64] z) {
          y = MatMul(x, u)
          h = MatMul(x, w)
          a = Add(h, b)
          r = Tanh(a)
          z = MatMul(r, v)
        }""",
        **arrays,
    )


@pytest.mark.parametrize(
    ("place", "value"), [(("w", 70), np.nan), (("w", 70), np.inf), (("v", 64), -np.inf), (("b", 3), np.nan)]
)
@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "float16"])
def test_no_scheme_makes_numbers_of_what_is_none(scheme: str, place: tuple[str, int], value: float) -> None:
    original = build(place, value)
    with pytest.raises(InvalidModelError, match=rf"^{place[0]} \(.*\) holds (NaN|infinity) at \[") as caught:
        quantize(original, open_samples({"x": X}, original), SCHEMES[scheme])
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_bias_that_switches_an_output_off_stays_in_float_and_that_is_said(scheme: str) -> None:
    original = build(("b", 3), -np.inf)
    result, report = quantize(original, open_samples({"x": X}, original), SCHEMES[scheme])
    assert scheme == "float16" or any(line.startswith("b (") for line in report.warnings)
    assert_alike(original, result)


@pytest.mark.parametrize(("place", "value"), [(("w", 70), np.nan), (("v", 64), np.inf)])
def test_float16_keeps_what_is_no_number(place: tuple[str, int], value: float) -> None:
    original = build(place, value)
    assert_alike(original, quantize(original, None, SCHEMES["float16"])[0])


def assert_alike(original: ir.Model, result: ir.Model) -> None:
    expected = Session(original).run({"x": X})
    for optimize in (True, False):
        found = Session(result, SessionConfig(optimize=optimize)).run({"x": X})
        for name, array in expected.items():
            np.testing.assert_array_equal(np.isfinite(found[name]), np.isfinite(array))


@pytest.mark.parametrize("place", [("w", 70), ("b", 3), ("v", 64)])
def test_simplification_keeps_what_is_no_number(place: tuple[str, int]) -> None:
    original = build(place, np.nan)
    expected, found = (Session(one).run({"x": X}) for one in (original, simplify(original)[0]))
    for name, array in expected.items():
        np.testing.assert_array_equal(np.isnan(array), np.isnan(found[name]))


@pytest.mark.parametrize("call", ["Mul(x, s)", "Add(x, s)", "LayerNormalization(x, s)"])
@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "float16"])
def test_what_makes_the_inputs_of_a_layer_no_numbers_is_named_as_its_weight_is(scheme: str, call: str) -> None:
    scale = np.ones(64, np.float32)
    scale[7] = np.nan
    made = model(f"g (float[n,64] x) => (float[n,64] y) {{ h = {call}\n y = MatMul(h, w) }}", s=scale, w=weight(64, 64))
    with pytest.raises(InvalidModelError, match=r"^s \(.+\) holds NaN at \[7\]"):
        quantize(made, open_samples({"x": X}, made), SCHEMES[scheme])


def test_a_table_with_rows_that_are_no_numbers_is_refused() -> None:
    w = weight(64, 64)
    w[5, 6] = np.nan
    made = model("g (int64[n] x) => (float[n,64] y) { y = Gather(w, x) }", w=w)
    with pytest.raises(InvalidModelError, match=r"^w \(.+\) holds NaN at \[5, 6\]"):
        quantize(made, None, SCHEMES["int8"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pruning_refuses_to_rank_what_is_no_number(value: float) -> None:
    with pytest.raises(InvalidModelError, match=r"^w \(.+\) holds (NaN|infinity) at \[1, 6\]"):
        prune(build(("w", 70), value), None, PruneOptions(remove=0.1))
