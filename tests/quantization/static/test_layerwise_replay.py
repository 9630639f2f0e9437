"""A replay holds what the finished model computes, between any two units, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.output_error import energy, squared_error
from onnxslim.graph.signature import tap_outputs
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.numerics import affine
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups, make_plan, make_weights_plan
from onnxslim.quantization.qdq.insert import QuantizationParams, QuantizedWeights, insert_qdq
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.static.layerwise_replay import LayerwiseReplay
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model, samples, weight

CONFIG = SessionConfig()
RESIDUAL = """g (float[1,16,8,8] x) => (float[1,10] y) {
    c = Conv <pads = [1,1,1,1]> (x, w)
    r = Relu (c)
    d = Conv <pads = [1,1,1,1]> (r, u)
    e = Sigmoid (d)
    s = Add (e, r)
    p = GlobalAveragePool (s)
    f = Flatten (p)
    y = Gemm (f, v)
}"""


@pytest.mark.parametrize("float_outputs", [(), ("d",), ("c", "s"), ("c", "d", "s", "y")])
def test_what_is_held_is_what_the_written_model_computes(float_outputs: tuple[str, ...]) -> None:
    found = prepare_model(model(RESIDUAL, w=weight(32, 16, 3, 3), u=weight(32, 32, 3, 3), v=weight(32, 10)))[0]
    feeds = list(samples(found, 16, 8, 8).batches(1))[:6]
    excluded = [str(node.name) for node in found.graph if node.outputs[0].name in float_outputs]
    units = find_fusion_groups(found, TARGETS["cpu"], excluded)
    plan = make_plan(units, find_int8_capable(units))
    seen = observe.collect_statistics(found, feeds, list(plan.tensors), CONFIG)
    encodings = {name: affine.compute_activation_encoding(seen.low[name], seen.high[name]) for name in plan.tensors}
    qparams = QuantizationParams(encodings)
    written = insert_qdq(found, plan, qparams)
    session = Session(tap_outputs(written, [str(v.name) for node in written.graph for v in node.outputs]), CONFIG)
    wanted = [session.run(feed) for feed in feeds]
    replay = LayerwiseReplay(found, plan, qparams, feeds, CONFIG)
    visited = 0
    for index, unit in enumerate(plan.units):
        later = {value.name for reader in plan.units[index + 1 :] for value in reader.inputs}
        read = {str(value.name) for value in unit.inputs if value.producer() is not None or value.is_graph_input()}
        for name in read:
            for chunk, tensors in enumerate({**feed, **outputs} for feed, outputs in zip(feeds, wanted, strict=True)):
                held = replay.to_float(name, replay.get_activation(name, chunk))
                expected = np.asarray(tensors.get(f"{name}_DequantizeLinear_Output", tensors.get(name)))
                assert held.shape == expected.shape
                # tensors that are looked at are not fused with what reads them, so some codes round the other way
                assert squared_error(expected, held) < 1e-3 * energy(expected), name
                visited += 1
        replay.run(unit)
        for name in read - later:
            with pytest.raises(KeyError):
                replay.get_activation(name, 0)
    assert visited >= 5 * len(feeds)


def test_sequences_between_units_are_handed_on_as_they_are() -> None:
    text = """g (float[n,32] x, float[n,32] z) => (float[n,32] y) {
        pair = SequenceConstruct (x, z)
        a = SequenceAt (pair, one)
        b = MatMul (a, w)
        both = SequenceInsert (pair, b)
        c = SequenceAt (both, two)
        y = MatMul (c, w)
    }"""
    found = prepare_model(model(text, w=weight(32, 32), one=np.array(1), two=np.array(2)))[0]
    feeds = [{"x": np.ones((1, 32), np.float32), "z": np.full((1, 32), i, np.float32)} for i in range(3)]
    units = find_fusion_groups(found, TARGETS["cpu"])
    plan = make_plan(units, [])
    replay = LayerwiseReplay(found, plan, QuantizationParams({}), feeds, CONFIG)
    for unit in plan.units[:-1]:
        replay.run(unit)
    for chunk, feed in enumerate(feeds):
        assert np.array_equal(replay.get_activation("c", chunk), Session(tap_outputs(found, ["c"]), CONFIG).run(feed)["c"])


@pytest.mark.parametrize("asked", [("x", "c", "d", "e", "s", "f"), ("d", "s"), ("f",)])
def test_with_activations_in_float_units_wait_until_they_are_asked_for(asked: tuple[str, ...]) -> None:
    text = RESIDUAL.replace("r = Relu (c)", "r = Tanh (c)")
    found = prepare_model(model(text, w=weight(32, 16, 3, 3), u=weight(32, 32, 3, 3), v=weight(32, 10)))[0]
    feeds = list(samples(found, 16, 8, 8).batches(1))[:3]
    units = find_fusion_groups(found, TARGETS["cpu"])
    layers = [unit for unit in units if unit.has_weights]
    plan, rng = make_weights_plan(units, [unit.name for unit in layers]), np.random.default_rng(0)
    weights = {
        unit.name: QuantizedWeights(
            rng.integers(-127, 128, unit.layer.weight.shape).astype(np.int8), np.full(unit.layer.outputs, 1e-3, np.float32)
        )
        for unit in layers
    }
    qparams = QuantizationParams({}, weights)
    written = insert_qdq(found, plan, qparams)
    assert [node.op_type for node in written.graph] == [node.op_type for node in found.graph]
    session = Session(tap_outputs(written, list("cdesf")), CONFIG)
    wanted = [{**feed, **session.run(feed)} for feed in feeds]
    replay, visited = LayerwiseReplay(found, plan, qparams, feeds, CONFIG), set()
    for unit in plan.units:
        for name in {str(value.name) for value in unit.inputs} & set(asked):
            visited.add(name)
            for chunk, tensors in enumerate(wanted):
                np.testing.assert_allclose(replay.get_activation(name, chunk), tensors[name], rtol=1e-4, atol=1e-5)
        replay.run(unit)
    assert visited == set(asked)
