"""What weights cost the outputs: against models that are built and run."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.weight_only.mixed.formats import BlockFormats, find_mixed_weights
from onnxslim.quantization.weight_only.mixed.sensitivity import SwappedWeights, estimate_losses
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model, weight

BLOCKS = [BlockFormat(2, 64, True), BlockFormat(4, 32, True), BlockFormat(8, 64)]
FORMATS = BlockFormats(BLOCKS, BLOCKS)


def branches() -> ir.Model:
    """Two layers in parallel, one of which is heard ten times less."""
    text = (
        "g (float[n,64] x) => (float[n,64] y, float[n,64] state) "
        "{ a = MatMul (x, v) \n b = MatMul (x, w) \n c = Mul (b, k) \n y = Add (a, c) \n state = Mul (b, k) }"
    )
    return prepare_model(model(text, v=weight(64, 64), w=weight(64, 64), k=np.float32([0.1])))[0]


def feeds(found: ir.Model) -> CalibrationFeeds:
    return CalibrationFeeds(
        open_samples({"x": np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)}, found)
    )


def test_swapped_weights_lose_what_a_model_with_them_does() -> None:
    found = branches()
    weights = find_mixed_weights(found, FORMATS)
    swapped = SwappedWeights(found, weights, feeds(found), (), SessionConfig())
    other = weight(64, 64)
    copy = model_file.clone(found)
    copy.graph.initializers["v"].const_value = ir.tensor(other, name="v")
    wanted = ReferenceOutputs(found, feeds(found), SessionConfig()).error(copy)
    np.testing.assert_allclose(swapped.measure({"v": other}), wanted, rtol=1e-4)
    assert swapped.measure({}) == 0


def test_states_count_where_there_is_nothing_else() -> None:
    found = branches()
    weights = find_mixed_weights(found, FORMATS)
    plain, without_state, states_alone = (
        SwappedWeights(found, weights, feeds(found), states, SessionConfig()) for states in ((), ("state",), ("y", "state"))
    )
    heard_by_state = {"w": weight(64, 64)}
    assert 0 < without_state.measure(heard_by_state) < 0.1 * plain.measure(heard_by_state)
    np.testing.assert_allclose(states_alone.measure(heard_by_state), plain.measure(heard_by_state), rtol=1e-6)


def test_losses_grow_with_fewer_bits_and_with_what_is_heard() -> None:
    found = branches()
    weights = find_mixed_weights(found, FORMATS)
    losses = estimate_losses(
        found, weights, feeds(found), moment_feeds=feeds(found), states=("state",), config=SessionConfig()
    )
    by_name = {one.name: loss for one, loss in zip(weights, losses, strict=True)}
    for loss in losses:
        assert np.all(np.diff(loss) < 0)  # 2, 4, 8 bits
    swapped = SwappedWeights(found, weights, feeds(found), ("state",), SessionConfig())
    for one in weights:
        for text, estimated in zip(one.formats[:2], by_name[one.name][:2], strict=True):
            really = swapped.measure({one.name: np.ascontiguousarray(one.expand(one.round(text)).T)})
            assert 0.3 * really < estimated < 2 * really


def test_weights_that_are_all_zero_lose_nothing_in_any_format() -> None:
    """As a convolution has before training, and a layer whose inputs are always zero."""
    text = (
        "g (float[n,64] x) => (float[n,64] y) { s = Reshape (x, size) \n c = Conv (s, u) \n f = Flatten (c) \n "
        "a = MatMul (f, v) \n b = MatMul (x, w) \n y = Add (a, b) }"
    )
    zeros = {"u": np.zeros((64, 64, 1, 1), np.float32), "size": np.array([-1, 64, 1, 1])}
    found = prepare_model(model(text, v=weight(64, 64), w=weight(64, 64), **zeros))[0]
    weights = find_mixed_weights(found, FORMATS)
    losses = estimate_losses(found, weights, feeds(found), moment_feeds=feeds(found), states=(), config=SessionConfig())
    by_name = {one.name: loss for one, loss in zip(weights, losses, strict=True)}
    assert not by_name["u"].any()
    assert not by_name["v"].any()
    assert by_name["w"].all()
