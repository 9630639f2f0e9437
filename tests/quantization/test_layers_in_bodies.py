"""Linear layers in the bodies of If, Loop and Scan: what any format writes loads at the default level, and is right."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model

N = 128
DYNAMIC = QuantizeOptions(activations="dynamic", placement="static", target="cpu")
CONSTANTS = {
    **{name: np.random.default_rng(i).standard_normal((N, N)).astype(np.float32) / 8 for i, name in enumerate("wvk")},
    "b": np.linspace(-1, 1, N, dtype=np.float32),
    "z": np.zeros(N, np.float32),
    "two": np.array(2),
    "ax": np.array([0]),
}
IF = """y = If (c) <
    then_branch = yes () => (float[n,128] t) {{ {} }},
    else_branch = no () => (float[n,128] e) {{ {} }}
  >"""
LOOP = """y = Loop (two, , x) <body = again (int64 i, bool go, float[n,128] a) => (bool on, float[n,128] o) {{
    o = MatMul (a, {})
    on = Identity (go)
  }}>"""
#: The main graph, by what is peculiar about it. Weights w and v are outside; k is made an initializer of the body.
STRUCTURES = {
    "outside and inside": IF.format("t = MatMul (x, w)", "e = MatMul (x, k)"),
    "one for both branches": IF.format("t = MatMul (x, w)", "h = MatMul (x, w) \n e = Tanh (h)"),
    "one for a branch and the main graph": "q = MatMul (x, w) \n" + IF.format("t = MatMul (q, w)", "e = Neg (q)"),
    "twice in one branch": IF.format("h = MatMul (x, w) \n t = MatMul (h, w)", "e = Neg (x)"),
    "read both ways": IF.format("t = MatMul (x, w)", "e = Gemm <transB=1> (x, w)"),
    "a Gemm with a bias": IF.format("t = Gemm <transB=1> (x, w, b)", "e = MatMul (x, v)"),
    "behind a Transpose outside": "q = Transpose <perm=[1,0]> (w) \n" + IF.format("t = MatMul (x, q)", "e = MatMul (x, v)"),
    "behind a Transpose inside": IF.format("q = Transpose <perm=[1,0]> (w) \n t = MatMul (x, q)", "e = MatMul (x, v)"),
    "two levels deep": IF.format(
        IF.format("t2 = MatMul (x, w)", "e2 = Neg (x)").replace("t)", "t2)").replace("e)", "e2)").replace("y =", "t ="),
        "e = Exp (x)",
    ),
    "a Loop": LOOP.format("w"),
    "a Loop with weights of its own": LOOP.format("k"),
    "a Scan": """f, y = Scan <num_scan_inputs=1, body = row (float[128] s, float[128] r) => (float[128] u, float[128] o) {
        r1 = Unsqueeze (r, ax)
        m = MatMul (r1, w)
        o = Squeeze (m, ax)
        u = Add (s, o)
      }> (z, x)""",
}  # fmt: skip


def build(structure: str) -> ir.Model:
    body = STRUCTURES[structure]
    condition = ", bool c" if "If" in body else ""
    read = {name: array for name, array in CONSTANTS.items() if name in re.findall(r"\w+", body)}
    found = model(f"g (float[n,128] x{condition}) => (float[n,128] y) {{ {body} }}", **read)
    if "k" in found.graph.initializers:
        value = found.graph.initializers.pop("k")
        (reader,) = value.consumers()
        assert isinstance(reader.graph, ir.Graph)
        reader.graph.register_initializer(value)
    return model_file.load(model_file.to_bytes(found))


def assert_close(original: ir.Model, result: ir.Model, max_error: float) -> None:
    x = np.random.default_rng(5).standard_normal((4, N)).astype(np.float32)
    for c in (True, False):
        feed = {"x": x, "c": np.array(c)} if len(original.graph.inputs) == 2 else {"x": x}
        expected = Session(original).run(feed)["y"]
        for optimize in (True, False):
            found = Session(result, SessionConfig(optimize=optimize)).run(feed)["y"]
            error = float(np.square(expected - found).sum() / np.square(expected).sum())
            assert error <= max_error


@pytest.mark.parametrize("weights", ["int8", "int4", "int8:qdq", "int4:qdq", "codebook:16", "float16"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_that_bodies_read_are_stored_in_fewer_bits(structure: str, weights: str) -> None:
    original = build(structure)
    result, _ = quantize(original, None, QuantizeOptions(weights=weights))
    assert len(model_file.to_bytes(result)) < 0.6 * len(model_file.to_bytes(original))
    assert_close(original, result, 1e-3 if "8" in weights else 0.04)


@pytest.mark.parametrize("structure", [structure for structure in STRUCTURES if structure != "read both ways"])
def test_layers_in_bodies_are_dynamic_int8(structure: str) -> None:
    original = build(structure)
    result, _ = quantize(original, draw_samples(original), DYNAMIC)
    assert_close(original, result, 3e-3)


def test_a_weight_that_is_read_both_ways_stays_float_where_inputs_are_quantised_as_they_come() -> None:
    """In a body or not: int8 scales are those of one axis."""
    original = build("read both ways")
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        quantize(original, draw_samples(original), DYNAMIC)
    beside = model(
        f"g (float[n,{N}] x) => (float[n,{N}] y) {{ a = MatMul (x, w) \n b = Gemm <transB=1> (a, w) \n y = MatMul (b, v) }}",
        w=CONSTANTS["w"],
        v=CONSTANTS["v"],
    )
    result, report = quantize(beside, draw_samples(beside), DYNAMIC)
    assert sum("read both ways" in entry.reason for entry in report.skipped) == 2
    assert_close(beside, result, 3e-3)


def draw_samples(original: ir.Model) -> Samples:
    data = {"x": np.random.default_rng(6).standard_normal((16, N)).astype(np.float32)}
    if len(original.graph.inputs) == 2:
        data["c"] = np.ones(16, bool)
    return open_samples(data, original)
