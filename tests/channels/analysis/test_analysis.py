"""What an analysis says about a model: savings, pins, reach, and lookups."""

from __future__ import annotations

import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.rewriter import delete_units, remove_units
from onnxslim.graph.cost import compute_cost
from tests.support.channel_cases import CASES
from tests.support.channel_graphs import convs, matmuls, model


@pytest.mark.parametrize("name", CASES)
def test_savings_are_what_removing_a_unit_alone_saves(name: str) -> None:
    net, _ = CASES[name]
    analysis = analyze_channels(net)
    before = compute_cost(net)
    for unit in sorted({0, analysis.count // 2, analysis.count - 1} & set(range(analysis.count))):
        pruned = net.clone()
        delete_units(pruned, analysis, [unit])
        after = compute_cost(pruned)
        assert before.params - after.params == analysis.params[unit]
        if not before.unknown:
            assert abs(before.macs - after.macs - analysis.macs[unit]) <= _uncounted(net)


def _uncounted(net: ir.Model) -> int:
    """Recurrent nets and einsums are not in the contract's MACs, so neither are they in the units'."""
    return 0 if not any(node.op_type in ("Attention", "MultiHeadAttention") for node in net.graph) else 10**9


def test_rows_and_columns_name_weights_and_indices() -> None:
    analysis = analyze_channels(convs("m = Relu(h)"))
    (producer, rows), (consumer, columns) = analysis.producers_of(3)[0], analysis.consumers_of(3)[0]
    assert (producer.weight.tensor, producer.weight.axis, rows.tolist()) == ("w_in", 0, [3])
    assert producer.bias is not None
    assert producer.bias.tensor == "b_in"
    assert (producer.output, producer.axis) == ("h", 1)
    assert consumer.weight is not None
    assert (consumer.weight.tensor, consumer.weight.axis, columns.tolist()) == ("w_out", 1, [3])
    assert (consumer.tensor, consumer.axis) == ("m", 1)


def test_incidence_agrees_with_the_labels() -> None:
    analysis = analyze_channels(CASES["attention, packed"][0])
    for kind, labels in (
        ("consumers", [c.labels for c in analysis.consumers]),
        ("sites", [s.labels for s in analysis.sites]),
    ):
        unit, holder, index = analysis.incidence(kind)
        assert (np.diff(unit) >= 0).all()
        for u, h, i in zip(unit, holder, index, strict=True):
            assert u in analysis.labels[labels[h]][i]
        assert len(unit) == sum((analysis.labels[position] >= 0).sum() for position in labels)


def test_a_unit_spelled_out() -> None:
    analysis = analyze_channels(convs("m = Relu(h)"))
    unit = analysis.describe_unit(0)
    assert unit.members == [("w_in", 0, [0]), ("b_in", 0, [0]), ("w_out", 1, [0])]
    assert unit.params == 3 * 9 + 1 + 5 * 9
    assert len(analysis.units) == len(analysis) == 8


def test_every_pin_has_a_reason_and_a_node() -> None:
    for net, _ in CASES.values():
        for pin in analyze_channels(net).pinned:
            assert pin.reason
            assert pin.slots > 0


def test_graph_inputs_and_outputs_are_pinned_by_name() -> None:
    analysis = analyze_channels(convs("m = Relu(h)"))
    assert [(p.tensor, p.slots, p.reason, p.node) for p in analysis.pinned] == [("y", 5, "graph output", "y")]


def test_reach_leaves_the_logits_aside() -> None:
    assert analyze_channels(convs("m = Relu(h)")).prunable_share == 1.0
    assert analyze_channels(convs("m = Softmax<axis=1>(h)")).prunable_share == 0.0
    gemm = analyze_channels(model("h = Relu(x) y = Gemm(h, w)", {"w": (4, 3)}, inputs="float[2,4] x")).layers
    assert [(layer.channels, layer.logits) for layer in gemm] == [(3, True)]


def test_what_averages_over_channels_is_free_only_with_a_loss() -> None:
    net = CASES["LayerNormalization"][0]
    assert analyze_channels(net).count == 0
    lossy = analyze_channels(net, lossy=True)
    assert lossy.count == 8
    pruned, _ = remove_units(net, [1, 5], lossy)
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
    everything = np.ones(len(analysis), bool)
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
