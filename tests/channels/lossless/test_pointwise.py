"""What is known of channels behind ops that compute each element on its own."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.lossless.removal import ALWAYS_ZERO, DUPLICATE
from tests.support.channel_graphs import convs
from tests.support.dead_channels import put, reduced, weight, zero_rows


def test_a_negative_constant_is_zero_behind_a_relu() -> None:
    report, _ = reduced(zero_rows(convs("m = Relu(h)"), [1, 4], -0.5))
    assert report.changed == {ALWAYS_ZERO: 2}


def test_a_constant_behind_a_saturated_clip() -> None:
    net = convs("m = Clip(h, low, high)", {"low": np.asarray(0, np.float32), "high": np.asarray(6, np.float32)})
    report, _ = reduced(zero_rows(net, [2, 6], [7.0, 9.0]))
    assert report.changed == {DUPLICATE: 1}


def test_a_channel_that_cannot_be_positive_is_zero_behind_a_relu() -> None:
    net = convs("r = Relu(h) c = Conv<pads=[1,1,1,1]>(r, w, b) m = Relu(c)", {"w": (8, 8, 3, 3), "b": (8,)})
    w, b = weight(net, "w"), weight(net, "b")
    w[3], b[3] = -np.abs(w[3]), -0.1
    report, _ = reduced(put(net, w=w, b=b))
    assert report.changed == {ALWAYS_ZERO: 1}


def test_a_bounded_channel_that_saturates_a_clip() -> None:
    net = convs(
        "r = Sigmoid(h) c = Conv(r, w, b) m = Clip(c, low, high)",
        {"w": (8, 8, 1, 1), "b": (8,), "low": np.asarray(0, np.float32), "high": np.asarray(6, np.float32)},
    )
    b = np.ones(8)
    b[[1, 2, 3]] = [50, -50, 60]
    report, _ = reduced(put(net, b=b))
    assert report.changed == {ALWAYS_ZERO: 1, DUPLICATE: 1}


def test_a_batch_normalization_with_a_gamma_of_zero() -> None:
    net = convs(
        "n = BatchNormalization(h, s, b, e, v) m = Relu(n)",
        {"s": (8,), "b": (8,), "e": (8,), "v": np.ones(8, np.float32)},
    )
    s, b = weight(net, "s"), weight(net, "b")
    s[[0, 7]], b[[0, 7]] = 0, -1
    report, _ = reduced(put(net, s=s, b=b))
    assert report.changed == {ALWAYS_ZERO: 2}
