"""Proportional channels: one stays for all."""

from __future__ import annotations

import pytest

from onnxslim.channels.lossless.removal import DUPLICATE
from tests.support.channel_graphs import convs
from tests.support.dead_channels import put, reduced, weight


@pytest.mark.parametrize(
    ("middle", "times", "gone"),
    [
        ("m = Relu(h)", 1.0, True),
        ("m = Relu(h)", 2.5, True),
        ("m = LeakyRelu(h)", 0.3, True),
        ("m = MaxPool<kernel_shape=[2,2]>(h)", 3.0, True),
        ("r = Relu(h) p = GlobalAveragePool(r) m = Relu(p)", 3.0, True),
        ("m = Sigmoid(h)", 1.0, True),
        ("m = Sigmoid(h)", 2.5, False),
        ("m = Relu(h)", -1.0, False),
        ("m = HardSwish(h)", 1.0, True),
        ("m = HardSwish(h)", 2.0, False),
    ],
)
def test_a_channel_that_is_a_multiple_of_another(middle: str, times: float, gone: bool) -> None:
    net = convs(middle)
    w, b = weight(net, "w_in"), weight(net, "b_in")
    w[6], b[6] = w[2] * times, b[2] * times
    report, _ = reduced(put(net, w_in=w, b_in=b))
    assert report.changed == ({DUPLICATE: 1} if gone else {})


def test_three_equal_channels_leave_one() -> None:
    net = convs("m = Relu(h)")
    w, b = weight(net, "w_in"), weight(net, "b_in")
    w[[1, 6]], b[[1, 6]] = w[2], b[2]
    assert reduced(put(net, w_in=w, b_in=b))[0].changed == {DUPLICATE: 2}
