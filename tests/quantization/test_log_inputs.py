"""Layers that a logarithm reads keep every bit: a spectrum in decibels, whatever is made in half floats around it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import compute_sqnr_db, energy, squared_error
from onnxslim.quantization.log_inputs import find_log_inputs
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

BINS, SIZE = 33, 64
FORMS = {"computed": QuantizeOptions(target="cuda"), "stored": QuantizeOptions(weights="float16")}


def build_spectrum() -> ir.Model:
    """The decibels of a spectrum that a product makes of a wave, then a layer of weights."""
    angles = 2 * np.pi * np.outer(np.arange(SIZE), np.arange(BINS)) / SIZE
    window = np.hanning(SIZE)[:, None]
    arrays = {
        "cosines": np.cos(angles) * window,
        "sines": np.sin(angles) * window,
        "two": np.array(2.0),
        "floor": np.array(1e-5),
        "w": np.random.default_rng(0).standard_normal((BINS, BINS)),
    }
    text = f"""g (float[n,{SIZE}] x) => (float[n,{BINS}] y) {{
      re = MatMul(x, cosines)
      im = MatMul(x, sines)
      r2 = Pow(re, two)
      i2 = Mul(im, im)
      p = Add(r2, i2)
      q = Max(p, floor)
      d = Log(q)
      y = MatMul(d, w)
    }}"""
    return model(text, **{name: array.astype(np.float32) for name, array in arrays.items()})


@pytest.mark.parametrize("form", FORMS)
def test_the_quiet_bands_beside_a_loud_tone_stay(form: str) -> None:
    original = build_spectrum()
    for node, name in zip(original.graph, ("re", "im", "r2", "i2", "p", "q", "d", "last"), strict=True):
        node.name = name
    result, report = quantize(original, None, FORMS[form])
    assert {"re", "im"} <= {entry.node for entry in report.skipped if "logarithm" in entry.reason}
    assert ir.DataType.FLOAT16 in {value.dtype for value in result.graph.initializers.values()}  # the layer behind it
    time = np.arange(SIZE)
    x = np.stack([100 * np.sin(2 * np.pi * k * time / SIZE) for k in (3, 7, 12)]).astype(np.float32)
    expected, found = (Session(m).run({"x": x})["y"] for m in (original, result))
    assert compute_sqnr_db(energy(expected), squared_error(expected, found)) > 50


def test_what_a_softmax_or_an_activation_ends_is_no_spectrum() -> None:
    found = model(
        "g (float[n,8] x) => (float[n,8] y) { a = MatMul(x, w)\n p = Softmax(a)\n q = Add(p, e)\n y = Log(q) }",
        w=np.eye(8, dtype=np.float32), e=np.float32(1e-6).reshape(()),
    )  # fmt: skip
    assert [node.op_type for node in find_log_inputs(found)] == ["Add"]
