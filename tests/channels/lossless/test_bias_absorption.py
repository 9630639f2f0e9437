"""Constants go into the bias of what reads them."""

from __future__ import annotations

from onnxslim.channels.lossless.removal import ALWAYS_CONSTANT, ALWAYS_ZERO, NEVER_READ
from tests.support.channel_graphs import convs, matmuls
from tests.support.dead_channels import put, reduced, weight, zero_rows


def test_a_constant_goes_into_the_bias_of_a_convolution_that_does_not_pad() -> None:
    net = zero_rows(convs("r = Relu(h) m = Conv(r, w, b)", {"w": (8, 8, 3, 3), "b": (8,)}), [0, 3, 5], [0.5, 1.5, 2.5])
    report, _ = reduced(net)
    assert report.changed == {ALWAYS_CONSTANT: 3}


def test_a_convolution_without_a_bias_gets_one_of_the_size_that_is_left() -> None:
    net = zero_rows(convs("r = Relu(h) m = Conv(r, w)", {"w": (8, 8, 3, 3)}), [0, 3], 0.5)
    kernel = weight(net, "w_out")
    kernel[:, 2] = 0
    report, result = reduced(put(net, w_out=kernel))
    assert report.changed == {ALWAYS_CONSTANT: 2, NEVER_READ: 1}
    assert weight(result, "m_bias").shape == (7,)


def test_a_matmul_folds_constants_into_the_add_behind_it() -> None:
    net = matmuls("a = Add(h, b_in) r = Relu(a) q = MatMul(r, w2) m = Add(q, d)", {"b_in": (8,), "w2": (8, 8), "d": (8,)})
    w, b = weight(net, "w_in"), weight(net, "b_in")
    w[:, [0, 1]], b[[0, 1]] = 0, [2.0, -1.0]
    report, _ = reduced(put(net, w_in=w, b_in=b))
    assert report.changed == {ALWAYS_CONSTANT: 1, ALWAYS_ZERO: 1}


def test_a_matmul_without_an_add_keeps_the_constant() -> None:
    net = matmuls("a = Add(h, b_in) m = Relu(a)", {"b_in": (8,)})
    w, b = weight(net, "w_in"), weight(net, "b_in")
    w[:, 0], b[0] = 0, 2.0
    report, _ = reduced(put(net, w_in=w, b_in=b))
    assert report.changed == {}
    assert len(report.skipped) == 1


def test_a_grouped_convolution_folds_what_is_constant_in_every_group() -> None:
    net = convs("m = Conv<group=2>(h, w, b)", {"w": (8, 4, 3, 3), "b": (8,)})
    report, _ = reduced(zero_rows(net, [1, 5, 2], [0.5, 1.5, 1.0]))
    assert report.changed == {ALWAYS_CONSTANT: 1}
