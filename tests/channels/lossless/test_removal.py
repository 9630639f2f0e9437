"""Lossless removal: what goes, what stays and why, and that no output changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.channels.lossless.removal import ALWAYS_CONSTANT, ALWAYS_ZERO, NEVER_READ, remove_lossless
from onnxslim.simplification.step import simplify
from tests.channels.test_zoo import MODELS, dims
from tests.support.channel_cases import CASES
from tests.support.channel_graphs import Weight, convs, model, recurrent
from tests.support.dead_channels import put, reduced, weight, zero_rows


def test_channels_that_nobody_reads_go_and_take_what_only_they_read_with_them() -> None:
    net = convs("c = Conv(h, w, b) m = Relu(c)", {"w": (8, 8, 1, 1), "b": (8,)})
    w, out = weight(net, "w"), weight(net, "w_out")
    out[:, [2, 3]] = 0
    w[[0, 1, 4, 5, 6, 7], 1] = 0
    report, _ = reduced(put(net, w=w, w_out=out))
    assert report.changed == {NEVER_READ: 3}


def test_a_residual_stream_loses_a_channel_only_where_every_member_is_constant() -> None:
    net = zero_rows(convs("c = Conv(h, w, b) m = Add(h, c)", {"w": (8, 8, 1, 1), "b": (8,)}), [1, 2])
    w, b = weight(net, "w"), weight(net, "b")
    w[1], b[1] = 0, 0
    report, _ = reduced(put(net, w=w, b=b))
    assert report.changed == {ALWAYS_ZERO: 1}


def test_a_weight_shared_with_another_reader_is_copied_before_it_is_changed() -> None:
    net = model(
        "h = Conv(x, w_in, b_in) r = Relu(h) y = Conv(r, v, d) g = Conv(x, w2) s = Relu(g) z = Conv(s, v, d)",
        {"w_in": (8, 3, 1, 1), "b_in": (8,), "w2": (8, 3, 1, 1), "v": (4, 8, 1, 1), "d": (4,)},
        outputs="float[?,?,?,?] y, float[?,?,?,?] z",
    )
    assert reduced(zero_rows(net, [3], 0.5))[0].changed == {ALWAYS_CONSTANT: 1}


def test_a_recurrent_net_loses_what_nobody_reads() -> None:
    net = recurrent("LSTM<hidden_size=7>", 4, ", b", b=(1, 56))
    r, out = weight(net, "r"), weight(net, "w_out")
    r[:, :, 3], out[3] = 0, 0
    assert reduced(put(net, r=r, w_out=out))[0].changed == {NEVER_READ: 1}


def test_a_head_that_nobody_reads_goes_whole() -> None:
    net = CASES["attention"][0].clone()
    out = weight(net, "w_out")
    out[4:] = 0
    report, result = reduced(put(net, w_out=out))
    assert report.changed == {NEVER_READ: 1}
    assert weight(result, "w_v").shape == (6, 4)


def test_nothing_to_remove_changes_nothing() -> None:
    net = convs("m = Relu(h)")
    before = ir.to_proto(net).SerializeToString(deterministic=True)
    assert remove_lossless(net).changed == {}
    assert ir.to_proto(net).SerializeToString(deterministic=True) == before


MIDDLES: dict[str, tuple[str, dict[str, Weight]]] = {
    "plain": ("m = Relu(h)", {}),
    "unpadded": ("r = Relu(h) m = Conv(r, w, b)", {"w": (8, 8, 3, 3), "b": (8,)}),
    "depthwise": ("r = Relu(h) d = Conv<group=8,pads=[1,1,1,1]>(r, w, b) m = Relu(d)", {"w": (8, 1, 3, 3), "b": (8,)}),
    "residual": ("c = Conv(h, w, b) s = Add(h, c) m = Relu(s)", {"w": (8, 8, 1, 1), "b": (8,)}),
    "gate": (
        "p = GlobalAveragePool(h) q = Conv(p, w, b) g = HardSigmoid(q) m = Mul(h, g)",
        {"w": (8, 8, 1, 1), "b": (8,)},
    ),
    "grouped": ("r = Relu(h) c = Conv<group=2>(r, w, b) m = Relu(c)", {"w": (8, 4, 1, 1), "b": (8,)}),
    "pooled": ("r = Relu(h) m = AveragePool<kernel_shape=[2,2],pads=[1,1,1,1],count_include_pad=1>(r)", {}),
    "transposed": ("r = Relu(h) m = ConvTranspose<strides=[2,2]>(r, w, b)", {"w": (8, 8, 3, 3), "b": (8,)}),
    "padded": ("r = Relu(h) m = Pad(r, n)", {"n": [0, 0, 1, 1, 0, 0, 1, 1]}),
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(MIDDLES)),
    st.integers(0, 99),
    st.lists(st.sampled_from(["zero", "constant", "equal", "twice", "negative", "unread"]), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_outputs_stay_equal_whatever_is_planted(middle: str, seed: int, plants: list[str], random: object) -> None:
    text, extra = MIDDLES[middle]
    net = convs(text, extra, seed=seed)
    pairs = [(w, b) for w, b in (("w_in", "b_in"), ("w", "b")) if w in net.graph.initializers]
    for plant in plants:
        name, offset = random.choice(pairs)  # type: ignore[attr-defined]
        w, b = weight(net, name), weight(net, offset)
        i, j = random.randrange(len(w)), random.randrange(len(w))  # type: ignore[attr-defined]
        if plant == "zero":
            w[i], b[i] = 0, 0
        elif plant == "constant":
            w[i] = 0
        elif plant in ("equal", "twice") and middle != "transposed":
            factor = 1 if plant == "equal" else 2
            w[i], b[i] = factor * w[j], factor * b[j]
        elif plant == "negative":
            w[i], b[i] = -np.abs(w[i]), -abs(b[i])
        else:
            out = weight(net, "w_out")
            out[:, i] = 0
            put(net, w_out=out)
        put(net, **{name: w, offset: b})
    reduced(net)


@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_keeps_its_outputs(zoo: Path, name: str) -> None:
    net, _ = simplify(zoo / f"{name}.onnx")
    report, _ = reduced(net, dims(net))
    if name == "efficientnet_lite0":
        assert sum(int(n) for n in report.changed.values()) >= 60
