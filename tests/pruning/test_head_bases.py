"""What one layer of a pair gains the other loses, and the channels of a head come in the order of what they say."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.graph.layers import find_linear_layers
from onnxslim.graph.traversal import name_nodes
from onnxslim.pruning.attention_heads import find_head_pairs
from onnxslim.pruning.head_bases import HeadBases, find_bases
from tests.support.encoder import data, small


@pytest.fixture(name="bases")
def fixture_bases() -> list[HeadBases]:
    model = small(layers=1)
    name_nodes(model.graph)
    context = RunContext(data(model))
    pairs = find_head_pairs(model, next(iter(data(model).batches(1))), context.config)
    return find_bases(model, pairs, context)


def test_the_second_undoes_the_first(bases: list[HeadBases]) -> None:
    assert [found.pair.reads_values for found in bases] == [False, True]
    for found in bases:
        for first, second in zip(found.first, found.second, strict=True):
            np.testing.assert_allclose(first @ second.T, np.eye(len(first)), atol=1e-6)


def test_values_are_alike_and_what_is_made_of_them_falls(bases: list[HeadBases]) -> None:
    model = small(layers=1)
    layers = find_linear_layers(model.graph)
    found = bases[1]
    found.apply(layers)
    weight = layers[found.pair.second].matrix()[0]
    for channels in found.pair.second_channels:
        norms = np.linalg.norm(weight[:, channels], axis=0)
        assert (np.diff(norms) <= 1e-6 * norms[0]).all()
