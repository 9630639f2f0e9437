"""Lossless removal: what goes, what stays and why, and that no output changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.channels.lossless.removal import ALWAYS_CONSTANT, ALWAYS_ZERO, DUPLICATE, NEVER_READ, remove_lossless
from onnxslim.core.step_report import Account
from onnxslim.runtime.session import Session
from onnxslim.simplification.step import simplify
from tests.channels.test_zoo import MODELS, dims
from tests.support.channel_cases import CASES
from tests.support.channel_graphs import Weight, convs, matmuls, model, recurrent
from tests.support.mask_oracle import PLAIN, distance, feeds


def weight(net: ir.Model, name: str) -> np.ndarray:
    """A copy of an initializer's array."""
    value = net.graph.initializers[name].const_value
    assert value is not None
    return value.numpy().copy()


def put(net: ir.Model, **arrays: np.ndarray) -> ir.Model:
    """``net`` with other arrays in some initializers."""
    for name, array in arrays.items():
        net.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
    return net


def reduced(net: ir.Model, sizes: dict[str, int] | None = None) -> tuple[Account, ir.Model]:
    """Remove what can go from a copy, with the outputs compared on random inputs."""
    result = net.clone()
    account = remove_lossless(result)
    for seed in range(3):
        x = feeds(net, seed, sizes)
        for (name, a), b in zip(Session(net, PLAIN).run(x).items(), Session(result, PLAIN).run(x).values(), strict=True):
            assert a.shape == b.shape
            assert distance(a, b) <= 1e-5, name
    return account, result


def zero_rows(net: ir.Model, rows: list[int], bias: float | list[float] = 0.0, name: str = "w_in") -> ir.Model:
    """Make channels of the first Conv of ``convs`` constant."""
    w, b = weight(net, name), weight(net, "b_in")
    w[rows], b[rows] = 0, bias
    return put(net, **{name: w}, b_in=b)


def test_a_row_of_zeros_without_a_bias_goes() -> None:
    account, result = reduced(zero_rows(convs("m = Relu(h)"), [1, 4]))
    assert account.changed == {ALWAYS_ZERO: 2}
    assert weight(result, "w_out").shape == (5, 6, 3, 3)


def test_a_negative_constant_is_zero_behind_a_relu() -> None:
    account, _ = reduced(zero_rows(convs("m = Relu(h)"), [1, 4], -0.5))
    assert account.changed == {ALWAYS_ZERO: 2}


def test_a_constant_goes_into_the_bias_of_a_convolution_that_does_not_pad() -> None:
    net = zero_rows(convs("r = Relu(h) m = Conv(r, w, b)", {"w": (8, 8, 3, 3), "b": (8,)}), [0, 3, 5], [0.5, 1.5, 2.5])
    account, _ = reduced(net)
    assert account.changed == {ALWAYS_CONSTANT: 3}


def test_a_convolution_without_a_bias_gets_one_of_the_size_that_is_left() -> None:
    net = zero_rows(convs("r = Relu(h) m = Conv(r, w)", {"w": (8, 8, 3, 3)}), [0, 3], 0.5)
    kernel = weight(net, "w_out")
    kernel[:, 2] = 0
    account, result = reduced(put(net, w_out=kernel))
    assert account.changed == {ALWAYS_CONSTANT: 2, NEVER_READ: 1}
    assert weight(result, "m_bias").shape == (7,)


def test_constants_before_a_zero_padded_border_are_merged_into_one() -> None:
    account, result = reduced(zero_rows(convs("m = Relu(h)"), [0, 3, 5], [0.5, 1.5, 2.5]))
    assert account.changed == {DUPLICATE: 2}
    assert weight(result, "w_out").shape == (5, 6, 3, 3)
    assert [(d.node, d.reason.split(":")[0]) for d in account.declined] == [("Conv_2", "1 constant channels stay")]


def test_a_constant_behind_a_saturated_clip() -> None:
    net = convs("m = Clip(h, low, high)", {"low": np.asarray(0, np.float32), "high": np.asarray(6, np.float32)})
    account, _ = reduced(zero_rows(net, [2, 6], [7.0, 9.0]))
    assert account.changed == {DUPLICATE: 1}


def test_a_channel_that_cannot_be_positive_is_zero_behind_a_relu() -> None:
    net = convs("r = Relu(h) c = Conv<pads=[1,1,1,1]>(r, w, b) m = Relu(c)", {"w": (8, 8, 3, 3), "b": (8,)})
    w, b = weight(net, "w"), weight(net, "b")
    w[3], b[3] = -np.abs(w[3]), -0.1
    account, _ = reduced(put(net, w=w, b=b))
    assert account.changed == {ALWAYS_ZERO: 1}


def test_a_bounded_channel_that_saturates_a_clip() -> None:
    net = convs(
        "r = Sigmoid(h) c = Conv(r, w, b) m = Clip(c, low, high)",
        {"w": (8, 8, 1, 1), "b": (8,), "low": np.asarray(0, np.float32), "high": np.asarray(6, np.float32)},
    )
    b = np.ones(8)
    b[[1, 2, 3]] = [50, -50, 60]
    account, _ = reduced(put(net, b=b))
    assert account.changed == {ALWAYS_ZERO: 1, DUPLICATE: 1}


def test_a_batch_normalization_with_a_gamma_of_zero() -> None:
    net = convs(
        "n = BatchNormalization(h, s, b, e, v) m = Relu(n)",
        {"s": (8,), "b": (8,), "e": (8,), "v": np.ones(8, np.float32)},
    )
    s, b = weight(net, "s"), weight(net, "b")
    s[[0, 7]], b[[0, 7]] = 0, -1
    account, _ = reduced(put(net, s=s, b=b))
    assert account.changed == {ALWAYS_ZERO: 2}


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
    account, _ = reduced(put(net, w_in=w, b_in=b))
    assert account.changed == ({DUPLICATE: 1} if gone else {})


def test_equal_rows_with_other_biases_are_two_channels() -> None:
    net = convs("m = Relu(h)")
    w = weight(net, "w_in")
    w[6] = w[2]
    assert reduced(put(net, w_in=w))[0].changed == {}


def test_three_equal_channels_leave_one() -> None:
    net = convs("m = Relu(h)")
    w, b = weight(net, "w_in"), weight(net, "b_in")
    w[[1, 6]], b[[1, 6]] = w[2], b[2]
    assert reduced(put(net, w_in=w, b_in=b))[0].changed == {DUPLICATE: 2}


def test_channels_that_nobody_reads_go_and_take_what_only_they_read_with_them() -> None:
    net = convs("c = Conv(h, w, b) m = Relu(c)", {"w": (8, 8, 1, 1), "b": (8,)})
    w, out = weight(net, "w"), weight(net, "w_out")
    out[:, [2, 3]] = 0
    w[[0, 1, 4, 5, 6, 7], 1] = 0
    account, _ = reduced(put(net, w=w, w_out=out))
    assert account.changed == {NEVER_READ: 3}


def test_a_residual_stream_loses_a_channel_only_where_every_member_is_constant() -> None:
    net = zero_rows(convs("c = Conv(h, w, b) m = Add(h, c)", {"w": (8, 8, 1, 1), "b": (8,)}), [1, 2])
    w, b = weight(net, "w"), weight(net, "b")
    w[1], b[1] = 0, 0
    account, _ = reduced(put(net, w=w, b=b))
    assert account.changed == {ALWAYS_ZERO: 1}


def test_dead_channels_through_concat_and_flatten() -> None:
    net = model(
        "h = Conv(x, w_in, b_in) g = Conv(x, w2) c = Concat<axis=1>(h, g) r = Relu(c) p = MaxPool<kernel_shape=[4,4]>(r)"
        " f = Flatten(p) y = Gemm<transB=1>(f, v, d)",
        {"w_in": (4, 3, 1, 1), "b_in": (4,), "w2": (4, 3, 1, 1), "v": (3, 200), "d": (3,)},
    )
    account, result = reduced(zero_rows(net, [0, 2], [3.0, -1.0]))
    assert account.changed == {ALWAYS_CONSTANT: 1, ALWAYS_ZERO: 1}
    assert weight(result, "v").shape == (3, 150)


def test_a_matmul_folds_constants_into_the_add_behind_it() -> None:
    net = matmuls("a = Add(h, b_in) r = Relu(a) q = MatMul(r, w2) m = Add(q, d)", {"b_in": (8,), "w2": (8, 8), "d": (8,)})
    w, b = weight(net, "w_in"), weight(net, "b_in")
    w[:, [0, 1]], b[[0, 1]] = 0, [2.0, -1.0]
    account, _ = reduced(put(net, w_in=w, b_in=b))
    assert account.changed == {ALWAYS_CONSTANT: 1, ALWAYS_ZERO: 1}


def test_a_matmul_without_an_add_keeps_the_constant() -> None:
    net = matmuls("a = Add(h, b_in) m = Relu(a)", {"b_in": (8,)})
    w, b = weight(net, "w_in"), weight(net, "b_in")
    w[:, 0], b[0] = 0, 2.0
    account, _ = reduced(put(net, w_in=w, b_in=b))
    assert account.changed == {}
    assert len(account.declined) == 1


def test_a_grouped_convolution_folds_what_is_constant_in_every_group() -> None:
    net = convs("m = Conv<group=2>(h, w, b)", {"w": (8, 4, 3, 3), "b": (8,)})
    account, _ = reduced(zero_rows(net, [1, 5, 2], [0.5, 1.5, 1.0]))
    assert account.changed == {ALWAYS_CONSTANT: 1}


def test_a_depthwise_convolution_of_zeros() -> None:
    net = convs("d = Conv<group=8, pads=[1,1,1,1]>(h, w, b) m = Relu(d)", {"w": (8, 1, 3, 3), "b": (8,)})
    b = weight(net, "b")
    b[:] = -1
    account, _ = reduced(zero_rows(put(net, b=b), [0, 1]))
    assert account.changed == {ALWAYS_ZERO: 2}


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
    account, result = reduced(put(net, w_out=out))
    assert account.changed == {NEVER_READ: 1}
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
    account, _ = reduced(net, dims(net))
    if name == "efficientnet_lite0":
        assert sum(int(n) for n in account.changed.values()) >= 60
