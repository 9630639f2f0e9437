"""How what is known gets through ops that move channels."""

from __future__ import annotations

from onnxslim.channels.lossless.removal import ALWAYS_CONSTANT, ALWAYS_ZERO, DUPLICATE
from tests.support.channel_graphs import convs, model
from tests.support.dead_channels import reduced, weight, zero_rows


def test_constants_before_a_zero_padded_border_are_merged_into_one() -> None:
    report, result = reduced(zero_rows(convs("m = Relu(h)"), [0, 3, 5], [0.5, 1.5, 2.5]))
    assert report.changed == {DUPLICATE: 2}
    assert weight(result, "w_out").shape == (5, 6, 3, 3)
    assert [(d.node, d.reason.split(":")[0]) for d in report.skipped] == [("Conv_2", "1 constant channels stay")]


def test_dead_channels_through_concat_and_flatten() -> None:
    net = model(
        "h = Conv(x, w_in, b_in) g = Conv(x, w2) c = Concat<axis=1>(h, g) r = Relu(c) p = MaxPool<kernel_shape=[4,4]>(r)"
        " f = Flatten(p) y = Gemm<transB=1>(f, v, d)",
        {"w_in": (4, 3, 1, 1), "b_in": (4,), "w2": (4, 3, 1, 1), "v": (3, 200), "d": (3,)},
    )
    report, result = reduced(zero_rows(net, [0, 2], [3.0, -1.0]))
    assert report.changed == {ALWAYS_CONSTANT: 1, ALWAYS_ZERO: 1}
    assert weight(result, "v").shape == (3, 150)
