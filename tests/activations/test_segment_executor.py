"""A walk gives what running the whole model gives, wherever its cut is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph.layers import find_linear_layers
from onnxslim.graph.signature import tap_outputs
from onnxslim.runtime.session import Session, SessionConfig
from tests.support import nets

CONFIG = SessionConfig()


def whole(model: ir.Model, data: Samples, name: str) -> np.ndarray:
    session = Session(tap_outputs(model, [name], only=True), CONFIG)
    return np.concatenate([session.run(dict(batch))[name] for batch in data.batches(7)])


def walked(walk: SegmentExecutor, position: int, name: str) -> np.ndarray:
    return np.concatenate([found[name] for _, found in walk.run_segment(position, [name])])


@pytest.mark.parametrize("held", [0, 100_000, 10**9])
def test_every_tensor_is_what_a_whole_run_makes_it(held: int) -> None:
    model = nets.residual(blocks=3)
    data = nets.samples(model, 21)
    walk = SegmentExecutor(model, data, CONFIG, max_held_bytes=held)
    for position, node in enumerate(model.graph):
        name = str(node.outputs[0].name)
        np.testing.assert_allclose(walked(walk, position, name), whole(model, data, name), rtol=1e-5, atol=1e-5)


RESIZES = {
    "sizes of another tensor": "t = Shape (c)",
    "and in other types": "s = Shape (c) f = Cast <to = 1> (s) t = Cast <to = 7> (f)",
    "in pieces": """s = Shape (x) a = Slice (s, zero, two) b = Shape (c) d = Slice (b, two, four)
        e = Cast <to = 6> (d) h = Cast <to = 7> (e) t = Concat <axis = 0> (a, h)""",
}


@pytest.mark.parametrize("sizes", RESIZES.values(), ids=RESIZES)
def test_sizes_of_a_resize_cross_the_cut(sizes: str) -> None:
    # the runtime refuses a Resize to a list of unknown length, and cuts forget what they were computed from
    model = ir.from_onnx_text(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[n, 2, h, w] x) => (float[n, 2, hh, ww] y)
        <int64[1] zero = {{0}}, int64[1] two = {{2}}, int64[1] four = {{4}}> {{
            c = AveragePool <kernel_shape = [2, 2]> (x) {sizes} m = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (x)
            z = Resize <mode = "nearest"> (m, , , t) y = Add (z, c)
        }}"""
    )
    data = open_samples({"x": np.random.default_rng(0).standard_normal((5, 2, 8, 9)).astype(np.float32)}, model)
    walk = SegmentExecutor(model, data, CONFIG, max_held_bytes=10**9)
    for position, node in enumerate(model.graph):
        name = str(node.outputs[0].name)
        np.testing.assert_array_equal(walked(walk, position, name), whole(model, data, name))


def test_a_tensor_that_crosses_the_cut_is_given_as_it_is() -> None:
    model = nets.residual(blocks=2)
    data = nets.samples(model, 5)
    walk = SegmentExecutor(model, data, CONFIG)
    nodes = list(model.graph)
    add = next(i for i, node in enumerate(nodes) if node.op_type == "Add")
    skip = str(nodes[add].inputs[1].name)
    np.testing.assert_allclose(walked(walk, add, skip), whole(model, data, skip), rtol=1e-5, atol=1e-6)


def test_weights_ahead_may_change_between_visits() -> None:
    model = nets.mlp()
    data = nets.samples(model, 9)
    walk = SegmentExecutor(model, data, CONFIG)
    found = find_linear_layers(model.graph)
    for position, layer in found.items():
        walked(walk, position, layer.input)
        layer.assign(2 * layer.matrix())
    position, last = list(found.items())[-1]
    output = str(last.output.name)
    np.testing.assert_allclose(walked(walk, position, output), whole(model, data, output), rtol=1e-5, atol=1e-5)


def test_batches_say_which_samples_they_are() -> None:
    model = nets.mlp()
    walk = SegmentExecutor(model, nets.samples(model, 37), CONFIG)
    seen = [i for indices, _ in walk.run_segment(0, ["x"]) for i in indices]
    assert seen == list(range(37))


def test_a_walk_knows_how_many_samples_it_goes_through() -> None:
    model = nets.mlp()
    assert SegmentExecutor(model, nets.samples(model, 21), CONFIG).sample_count == 21


@pytest.mark.parametrize("held", [0, 10**9])
def test_two_walks_share_what_one_has_read(held: int) -> None:
    model = nets.residual(blocks=2)
    data = nets.samples(model, 9)
    first = SegmentExecutor(model, data, CONFIG, max_held_bytes=held)
    second = SegmentExecutor(model, data, CONFIG, max_held_bytes=held, shared=first)
    last = len(list(model.graph)) - 1
    name = str(list(model.graph)[last].outputs[0].name)
    np.testing.assert_array_equal(walked(first, last, name), walked(second, last, name))


def test_weights_that_callers_may_replace_are_not_waited_for() -> None:
    model = nets.residual(blocks=2)
    weight = next(iter(model.graph.initializers.values()))
    model.graph.inputs.append(weight)
    data = nets.samples(nets.residual(blocks=2), 9)
    walk = SegmentExecutor(model, data, CONFIG)
    for position, node in enumerate(model.graph):
        name = str(node.outputs[0].name)
        assert len(walked(walk, position, name)) == 9
