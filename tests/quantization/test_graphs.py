"""Graphs that trip quantisers: MatMul + Add, shared weights, bodies, CPUs whose pairs of products saturate."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.quantization.step import quantize
from onnxslim.simplification.step import simplify
from tests.support.quantize_graphs import EVERYTHING, close, kernels, model, samples, weight

BLOCKS = {
    "rank 2": ("float[n,64] x", "float[n,64] y", (64,)),
    "rank 3, static": ("float[1,8,64] x", "float[1,8,64] y", (8, 64)),
    "rank 3, free": ("float[n,8,64] x", "float[n,8,64] y", (8, 64)),
}
MIDDLES = {"Relu": "h = Relu(c)", "Erf": "h = Erf(c)", "none": "h = Identity(c)"}


@pytest.mark.parametrize("shape", BLOCKS)
@pytest.mark.parametrize("middle", MIDDLES)
def test_two_linear_layers_have_the_same_kernels_quantised_before_and_after_simplify(shape: str, middle: str) -> None:
    into, out, size = BLOCKS[shape]
    written = model(
        f"""g ({into}) => ({out}) {{
          a = MatMul(x, w)
          c = Add(a, p)
          {MIDDLES[middle]}
          d = MatMul(h, v)
          y = Add(d, q)
        }}""",
        w=weight(64, 256), v=weight(256, 64), p=weight(256), q=weight(64),
    )  # fmt: skip
    simplified = simplify(written)[0]
    data = samples(written, *size)
    both = [quantize(one, data, EVERYTHING)[0] for one in (written, simplified)]
    left = [kernels(one) for one in both]
    integer = [{op: n for op, n in ops.items() if op.startswith(("QGemm", "QLinear", "MatMulInteger"))} for ops in left]
    assert sum(integer[0].values()) == sum(integer[1].values()) == 2, left
    assert not any({"Gemm", "MatMul"} & ops.keys() for ops in left)
    assert all(close(written, one, data) for one in both)


def test_a_weight_that_two_layers_share_is_right_in_both_and_a_shared_bias_too() -> None:
    found = model(
        """g (float[n,16,8,8] x) => (float[n,16,8,8] y) {
          a = Conv(x, w, p)
          b = Relu(a)
          c = Conv(b, w, p)
          y = Add(c, b)
        }""",
        w=weight(16, 16, 1, 1), p=weight(16),
    )  # fmt: skip
    data = samples(found, 16, 8, 8)
    result, report = quantize(found, data, EVERYTHING)
    assert report.changed["layers in int8"] == 2
    assert kernels(result)["QLinearConv"] == 2
    assert close(found, result, data)


BODY = """g (float[n,16,8,8] x, bool c) => (float[n,16,8,8] y) {
  a = Conv(x, w)
  b = Relu(a)
  z = If (c) <
    then_branch = yes () => (float[n,16,8,8] t) { t = Conv(b, v) },
    else_branch = no () => (float[n,16,8,8] f) { s = Conv(b, v)
      f = Relu(s) }
  >
  y = Conv(z, u)
}"""


@pytest.mark.parametrize("condition", [True, False])
def test_the_bodies_of_an_if_are_left_whole_in_float_and_the_layers_around_them_fuse(condition: bool) -> None:
    found = model(BODY, w=weight(16, 16, 1, 1), v=weight(16, 16, 1, 1), u=weight(16, 16, 1, 1))
    data = samples(found, 16, 8, 8, c=np.full(8, condition))
    result, report = quantize(found, data, EVERYTHING)
    inside = [node for node in result.graph.all_nodes() if node.graph is not result.graph]
    assert {node.op_type for node in inside} == {"Conv", "Relu"}
    assert report.changed["layers in int8"] == 2
    assert kernels(result)["QLinearConv"] == 2
    assert close(found, result, data)
