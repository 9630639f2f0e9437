"""float16: what is converted, what stays float32 and why, and that the answers stay."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig, check_loads
from tests.support.encoder import small
from tests.support.quantize_graphs import model, types

CUDA = QuantizeOptions(target="cuda")


def test_an_epsilon_that_would_vanish_and_a_mask_that_would_be_infinite_stay() -> None:
    original = model(
        """g (float[2,8] x) => (float[2,8] y) {
          a = Abs(x)
          b = Add(a, eps)
          c = Div(x, b)
          d = Add(c, mask)
          y = Softmax<axis=-1>(d)
        }""",
        eps=np.float32(1e-12).reshape(()),
        mask=np.array([0] * 7 + [-1e9], np.float32),
    )
    result, report = quantize(original, None, CUDA)
    reasons = {d.node: d.reason for d in report.skipped}
    assert sum("would become zero or a denormal" in reason for reason in reasons.values()) == 1
    assert sum("would become infinite" in reason for reason in reasons.values()) == 1
    assert types(result, "Abs") == {ir.DataType.FLOAT16}
    assert types(result, "Add") == {ir.DataType.FLOAT}
    x = np.array([[0.0, 1, 2, 3, 4, 5, 6, 7]] * 2, np.float32)
    np.testing.assert_allclose(Session(result).run({"x": x})["y"], Session(original).run({"x": x})["y"], atol=1e-3)


BODIES = {
    "If": """z = If (c) <
        then_branch = yes () => (float[n,8] a) { b = MatMul(h, w)\n a = Tanh(b) },
        else_branch = no () => (float[n,8] d) { d = MatMul(x, w) }
      >""",
    "an If that returns what is outside": """z = If (c) <
        then_branch = yes () => (float[n,8] a) { a = Identity(h) },
        else_branch = no () => (float[n,8] d) { e = MatMul(h, w)\n d = MatMul(e, w) }
      >""",
    "an If in an If": """z = If (c) <
        then_branch = yes () => (float[n,8] a) {
          a = If (c) <
            then_branch = inner () => (float[n,8] f) { g1 = MatMul(h, w)\n f = Add(g1, x) },
            else_branch = other () => (float[n,8] k) { k = Tanh(x) }
          >
        },
        else_branch = no () => (float[n,8] d) { d = MatMul(h, w) }
      >""",
    "Loop": """z = Loop (three, , h) <
        body = turn (int64 i, bool go, float[n,8] s) => (bool on, float[n,8] t) {
          on = Identity(go)\n b = MatMul(s, w)\n t = Add(b, h)
        }
      >""",
    "Scan": """z = Scan <num_scan_inputs=1,
        body = step (float[8] r) => (float[8] q) { b = MatMul(r, w)\n q = Sigmoid(b) }
      > (h)""",
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_are_converted_and_what_they_take_and_give_stays(kind: str) -> None:
    text = f"g (float[n,8] x, bool c) => (float[n,8] y) {{ h = Tanh(x)\n {BODIES[kind]}\n y = Sigmoid(z) }}"
    arrays = {"w": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)}
    original = model(text, **arrays, **({"three": np.array(3)} if "three" in text else {}))
    result, _ = quantize(original, None, CUDA)
    check_loads(result)
    assert types(result, "Tanh") == {ir.DataType.FLOAT16}
    inner = [node for node in result.graph.all_nodes() if node.op_type == "MatMul"]
    assert inner
    assert {node.outputs[0].dtype for node in inner} == {ir.DataType.FLOAT16}
    assert result.graph.initializers.keys() == {"w_float16", *({"three"} if "three" in text else ())}
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    for c, optimize in itertools.product((True, False), repeat=2):
        feed, config = {"x": x, "c": np.array(c)}, SessionConfig(optimize=optimize)
        expected, found = (Session(m, config).run(feed)["y"] for m in (original, result))
        np.testing.assert_allclose(found, expected, atol=4e-3)


def test_an_if_that_is_excluded_is_left_whole_and_reads_float32() -> None:
    original = model(
        """g (float[n,8] x, bool c) => (float[n,8] y) {
          h = Tanh(x)
          z = If (c) <
            then_branch = yes () => (float[n,8] a) { a = Neg(h) },
            else_branch = no () => (float[n,8] b) { b = Relu(h) }
          >
          y = Sigmoid(z)
        }"""
    )
    original.graph[1].name = "choice"
    result, _ = quantize(original, None, QuantizeOptions(target="cuda", exclude=("choice",)))
    check_loads(result)
    bodies = [node for node in result.graph.all_nodes() if node.op_type in ("Neg", "Relu")]
    assert {node.outputs[0].dtype for node in bodies} == {ir.DataType.FLOAT}


def test_sizes_and_fixed_float32_inputs_keep_their_types() -> None:
    original = model(
        """g (float[1,2,4,4] x) => (float[1,2,8,8] y, int64[4] s) {
          h = Relu(x)
          y = Resize<mode="linear">(h, , scales)
          s = Shape(h)
        }""",
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    result, _ = quantize(original, None, CUDA)
    check_loads(result)
    assert types(result, "Relu") == {ir.DataType.FLOAT16}
    assert [v.dtype for v in result.graph.outputs] == [ir.DataType.FLOAT, ir.DataType.INT64]


def test_a_cast_to_float_becomes_one_to_float16() -> None:
    original = model("g (int64[n,8] x) => (float[n,8] y) { a = Cast<to=1>(x)\n y = Sigmoid(a) }")
    result, _ = quantize(original, None, CUDA)
    x = np.arange(8).reshape(1, 8)
    np.testing.assert_allclose(Session(result).run({"x": x})["y"], Session(original).run({"x": x})["y"], atol=1e-3)
    assert result.graph[0].attributes.get_int("to", 0) == ir.DataType.FLOAT16


def test_an_excluded_node_stays_float32() -> None:
    original = small()
    result, report = quantize(original, None, QuantizeOptions(target="cuda", exclude=(r"layer0\.mlp\.up",)))
    assert ("layer0.mlp.up", "it was excluded") in [(d.node, d.reason) for d in report.skipped]
    assert next(n for n in result.graph if n.name == "layer0.mlp.up").outputs[0].dtype == ir.DataType.FLOAT


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_a_recurrent_net_whose_batch_comes_first_outlives_the_runtimes_fusion(op: str) -> None:
    gates, rng = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], np.random.default_rng(0)
    original = model(
        f"""g (float[n,5,16] x) => (float[n,5,8] y) {{
          t = Transpose<perm=[1,0,2]>(x)
          h = {op}<hidden_size=12>(t, w, r)
          s = Squeeze(h, one)
          u = Transpose<perm=[1,0,2]>(s)
          y = MatMul(u, v)
        }}""",
        w=rng.standard_normal((1, gates * 12, 16)).astype(np.float32) * 0.2,
        r=rng.standard_normal((1, gates * 12, 12)).astype(np.float32) * 0.2,
        one=np.array([1]),
        v=rng.standard_normal((12, 8)).astype(np.float32),
    )
    result, report = quantize(original, None, CUDA)
    assert any("MatMul's matrices" in entry.reason for entry in report.skipped)
    assert ir.DataType.FLOAT16 in types(result, "MatMul") | types(result, op)
    x = rng.standard_normal((2, 5, 16)).astype(np.float32)
    np.testing.assert_allclose(Session(result).run({"x": x})["y"], Session(original).run({"x": x})["y"], atol=2e-2)
