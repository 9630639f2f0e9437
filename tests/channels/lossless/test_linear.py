"""What is known of channels that are sums: rows of zeros, equal rows."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.channels.lossless.removal import ALWAYS_ZERO
from onnxslim.simplification.step import simplify
from tests.support.channel_graphs import convs
from tests.support.dead_channels import put, reduced, weight, zero_rows
from tests.support.onnx_text import build


def test_a_row_of_zeros_without_a_bias_goes() -> None:
    report, result = reduced(zero_rows(convs("m = Relu(h)"), [1, 4]))
    assert report.changed == {ALWAYS_ZERO: 2}
    assert weight(result, "w_out").shape == (5, 6, 3, 3)


def test_equal_rows_with_other_biases_are_two_channels() -> None:
    net = convs("m = Relu(h)")
    w = weight(net, "w_in")
    w[6] = w[2]
    assert reduced(put(net, w_in=w))[0].changed == {}


def test_a_depthwise_convolution_of_zeros() -> None:
    net = convs("d = Conv<group=8, pads=[1,1,1,1]>(h, w, b) m = Relu(d)", {"w": (8, 1, 3, 3), "b": (8,)})
    b = weight(net, "b")
    b[:] = -1
    report, _ = reduced(zero_rows(put(net, b=b), [0, 1]))
    assert report.changed == {ALWAYS_ZERO: 2}


@pytest.mark.parametrize(
    ("head", "op", "shape"),
    [
        ("(float[N,4] x) => (float[N,0] y)", "MatMul (x, w)", (4, 0)),
        ("(float[N,0] x) => (float[N,3] y)", "Gemm (x, w)", (0, 3)),
        ("(float[N,4] x) => (float[N,0] y)", "Gemm (x, w)", (4, 0)),
        ("(float[1,0,5,5] x) => (float[1,3,5,5] y)", "Conv<pads = [1, 1, 1, 1]> (x, w)", (3, 0, 3, 3)),
    ],
)
def test_layers_without_inputs_or_outputs_stay_as_they_are(head: str, op: str, shape: tuple[int, ...]) -> None:
    result, _ = simplify(build(f"{head} {{ y = {op} }}", w=np.zeros(shape, np.float32)))
    assert [node.op_type for node in result.graph] == [op.split("<")[0].split()[0]]
