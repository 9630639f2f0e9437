"""A walk gives what running the whole model gives, wherever its cut is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.prune import layers
from onnxslim.prune.walk import Walk
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.taps import tap
from tests.prune import nets

CONFIG = SessionConfig()


def whole(model: ir.Model, data: Samples, name: str) -> np.ndarray:
    session = Session(tap(model, [name], only=True), CONFIG)
    return np.concatenate([session.run(dict(batch))[name] for batch in data.batches(7)])


def walked(walk: Walk, position: int, name: str) -> np.ndarray:
    return np.concatenate([found[name] for _, found in walk.visit(position, [name])])


@pytest.mark.parametrize("held", [0, 100_000, 10**9])
def test_every_tensor_is_what_a_whole_run_makes_it(held: int) -> None:
    model = nets.residual(blocks=3)
    data = nets.samples(model, 21)
    walk = Walk(model, data, CONFIG, held=held)
    for position, node in enumerate(model.graph):
        name = str(node.outputs[0].name)
        np.testing.assert_allclose(walked(walk, position, name), whole(model, data, name), rtol=1e-5, atol=1e-5)


def test_a_tensor_that_crosses_the_cut_is_given_as_it_is() -> None:
    model = nets.residual(blocks=2)
    data = nets.samples(model, 5)
    walk = Walk(model, data, CONFIG)
    nodes = list(model.graph)
    add = next(i for i, node in enumerate(nodes) if node.op_type == "Add")
    skip = str(nodes[add].inputs[1].name)
    np.testing.assert_allclose(walked(walk, add, skip), whole(model, data, skip), rtol=1e-5, atol=1e-6)


def test_weights_ahead_may_change_between_visits() -> None:
    model = nets.mlp()
    data = nets.samples(model, 9)
    walk = Walk(model, data, CONFIG)
    found = layers.find(model.graph)
    nodes = list(model.graph)
    for layer in found:
        walked(walk, layer.position, layer.input)
        layers.assign(layer, nodes[layer.position], 2 * layers.matrix(layer, nodes[layer.position]))
    last = found[-1]
    np.testing.assert_allclose(
        walked(walk, last.position, last.output), whole(model, data, last.output), rtol=1e-5, atol=1e-5
    )


def test_batches_say_which_samples_they_are() -> None:
    model = nets.mlp()
    walk = Walk(model, nets.samples(model, 37), CONFIG)
    seen = [i for indices, _ in walk.visit(0, ["x"]) for i in indices]
    assert seen == list(range(37))


def test_a_walk_knows_how_many_samples_it_goes_through() -> None:
    model = nets.mlp()
    assert Walk(model, nets.samples(model, 21), CONFIG).samples == 21


@pytest.mark.parametrize("held", [0, 10**9])
def test_two_walks_share_what_one_has_read(held: int) -> None:
    model = nets.residual(blocks=2)
    data = nets.samples(model, 9)
    first = Walk(model, data, CONFIG, held=held)
    second = Walk(model, data, CONFIG, held=held, like=first)
    last = len(list(model.graph)) - 1
    name = str(list(model.graph)[last].outputs[0].name)
    np.testing.assert_array_equal(walked(first, last, name), walked(second, last, name))


def test_weights_that_callers_may_replace_are_not_waited_for() -> None:
    model = nets.residual(blocks=2)
    weight = next(iter(model.graph.initializers.values()))
    model.graph.inputs.append(weight)
    data = nets.samples(nets.residual(blocks=2), 9)
    walk = Walk(model, data, CONFIG)
    for position, node in enumerate(model.graph):
        name = str(node.outputs[0].name)
        assert len(walked(walk, position, name)) == 9
