"""What an analysis says about a model: savings, pins, reach, and lookups."""

from __future__ import annotations

import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.channels.analysis.analysis import analyze_channels
from tests.support.channel_cases import CASES
from tests.support.channel_graphs import convs, matmuls, model
from tests.support.mask_oracle import remove_units
from tests.support.onnx_text import build, floats


def test_what_averages_over_channels_is_free_only_with_a_loss() -> None:
    net = CASES["LayerNormalization"][0]
    assert analyze_channels(net).count == 0
    lossy = analyze_channels(net, lossy=True)
    assert lossy.count == 8
    pruned = remove_units(net, [1, 5], lossy)
    assert [value.const_value.shape for value in pruned.graph.initializers.values()] == [(6, 6), (6, 4), (6,), (6,)]


def test_a_decomposed_layer_normalization_is_free_with_a_loss() -> None:
    net = matmuls(
        "e = ReduceMean(h, a) d = Sub(h, e) q = Mul(d, d) v = ReduceMean(q, a) r = Sqrt(v) n = Div(d, r) m = Mul(n, s)",
        {"a": [-1], "s": (8,)},
    )
    assert analyze_channels(net).count == 0
    remove_units(net, [0, 3], analyze_channels(net, lossy=True))


def test_spare_gives_back_a_slot_of_every_axis() -> None:
    analysis = analyze_channels(CASES["attention"][0])
    everything = np.ones(analysis.count, bool)
    assert analysis.find_emptied_axes(everything)
    left = analysis.spare(everything)
    assert not analysis.find_emptied_axes(left)
    assert left.any()


def test_the_model_that_is_analysed_does_not_change() -> None:
    net = convs("m = Relu(h)")
    before = ir.to_proto(net).SerializeToString(deterministic=True)
    analyze_channels(net)
    remove_units(net, [0])
    assert ir.to_proto(net).SerializeToString(deterministic=True) == before


def test_an_analysis_is_the_same_every_time() -> None:
    net = CASES["attention with fewer heads of keys"][0]
    one, two = analyze_channels(net), analyze_channels(net)
    assert [a.tolist() for a in one.labels] == [a.tolist() for a in two.labels]
    assert (one.sites, one.pinned, one.layers) == (two.sites, two.pinned, two.layers)


def chain(length: int) -> ir.Model:
    """Conv, Relu, Conv, Add … of 8 channels."""
    text, last, before = ["h0 = Conv(x, w0)"], "h0", "h0"
    for i in range(1, length):
        kind = i % 4
        text.append(
            {0: f"h{i} = Conv({last}, w)", 1: f"h{i} = Relu({last})", 2: f"h{i} = Conv({last}, w)"}.get(
                kind, f"h{i} = Add({last}, {before})"
            )
        )
        last = f"h{i}"
        before = last if kind == 3 else before
    text.append(f"y = Conv({last}, v)")
    weights = {"w0": (8, 3, 1, 1), "w": (8, 8, 1, 1), "v": (4, 8, 1, 1)}
    return model(" ".join(text), weights, outputs="float[1,4,8,8] y")  # type: ignore[arg-type]


def seconds(net: ir.Model) -> float:
    """Processor time of an analysis, the better of two."""
    times = []
    for _ in range(2):
        start = time.process_time()
        analyze_channels(net)
        times.append(time.process_time() - start)
    return min(times)


def test_a_graph_of_3000_nodes_takes_at_most_two_seconds() -> None:
    assert seconds(chain(3000)) <= 2.0


@pytest.mark.nightly
def test_time_is_nearly_linear_in_the_number_of_nodes() -> None:
    assert seconds(chain(20_000)) <= 25 * seconds(chain(1_000))


@pytest.mark.parametrize("size", [5, 6])
def test_a_window_larger_than_its_input_leaves_no_size_below_zero(size: int) -> None:
    """Shape inference gives -1 or 0 there; the runtime loads such a model and refuses to run it."""
    text = f"""(float[N,2,{size}] x) => (float[N,3,D] y) {{
        p = Pad (x, k, v)
        y = Conv <kernel_shape=[3], dilations=[3]> (p, w)
    }}"""
    constants = {"k": np.zeros(6, np.int64), "v": np.float32(0), "w": floats(3, 2, 3)}
    assert not analyze_channels(build(text, **constants)).consumers, "nothing is offered of what cannot run"
