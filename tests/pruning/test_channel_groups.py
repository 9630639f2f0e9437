"""Units in families, criteria that rank them, and the columns they own."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.pruning.channel_groups import find_channel_groups
from tests.support import nets


def test_every_unit_is_in_one_family() -> None:
    for model in (nets.residual(blocks=3), nets.mobile(), nets.mlp()):
        analysis = analyze_channels(model)
        numbers = np.concatenate([family.units for family in find_channel_groups(analysis)])
        assert sorted(numbers.tolist()) == list(range(analysis.count))


def test_the_channels_inside_a_block_are_one_family_and_the_stream_another() -> None:
    found = find_channel_groups(analyze_channels(nets.residual(blocks=2, width=8)))
    assert [len(family) for family in found] == [8, 8, 8]
    stream, first, second = found
    assert len(stream.readers) == 3
    assert len(first.readers) == len(second.readers) == 1
    assert len(stream.writers) == 3


def test_a_flattened_channel_owns_all_its_positions() -> None:
    b = nets.Builder(["n", 3, 4, 4])
    model = b.model(b.gemm(b.op("Flatten", b.op("Relu", b.conv("x", 3, 6))), 6 * 16, 5))
    (family,) = find_channel_groups(analyze_channels(model))
    (columns,) = family.readers.values()
    np.testing.assert_array_equal(columns, np.arange(96).reshape(6, 16))


def test_a_family_begins_where_its_number_is_first_given() -> None:
    b = nets.Builder(["n", 5, 6])
    # A state of zeros, made ahead of everything that has weights.
    size = b.constant(np.array([1, 5, 4]))
    zeros = b.op("Expand", b.constant(np.zeros(1, np.float32)), size)
    weights = [b.weight(1, 12, 6), b.weight(1, 12, 4), b.weight(1, 24)]
    steps = b.op("GRU", "x", *weights, "", zeros, hidden_size=4)
    last = b.op("Squeeze", steps, b.constant(np.array([1])))
    model = b.model(b.op("MatMul", last, b.weight(4, 3)))
    (family,) = find_channel_groups(analyze_channels(model))
    assert [node.op_type for node in model.graph][family.first_node] == "Expand"
