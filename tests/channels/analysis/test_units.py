"""Units, pins and incidence as plain data."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.analysis.analysis import analyze_channels
from tests.support.channel_cases import CASES
from tests.support.channel_graphs import convs


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
    units, holders, indices = analysis.incidence("sites")
    members = [(analysis.sites[h].tensor, analysis.sites[h].axis, i) for h, i in zip(holders, indices, strict=True)]
    first = [member for member, unit in zip(members, units, strict=True) if unit == 0]
    assert first == [("w_in", 0, 0), ("b_in", 0, 0), ("w_out", 1, 0)]
    assert analysis.params[0] == 3 * 9 + 1 + 5 * 9
    assert analysis.count == 8


def test_every_pin_has_a_reason_and_a_node() -> None:
    for net, _ in CASES.values():
        for pin in analyze_channels(net).pinned:
            assert pin.reason
            assert pin.slots > 0


def test_graph_inputs_and_outputs_are_pinned_by_name() -> None:
    analysis = analyze_channels(convs("m = Relu(h)"))
    assert [(p.tensor, p.slots, p.reason, p.node) for p in analysis.pinned] == [("y", 5, "graph output", "y")]
