"""Forms in which exporters and other tools write models, and what they cost on the machine at hand beside a better one.

``onnxslim doctor`` times them and keeps the figures, ``onnxslim inspect`` warns of them with what they cost here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.conformance.microbenchmarks import make_lstm
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.quantization.weight_only.blocks import write_blockwise
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave

logger = logging.getLogger(__name__)

_SECONDS_PER_FORM = 0.2

#: Draws a form: the shape of its input, the form, and the better one.
FormFactory = Callable[[], tuple[tuple[int, ...], ir.Model, ir.Model]]


def measure_costs(config: SessionConfig | None = None) -> dict[str, float]:
    """How many times longer each form of :data:`COSTLY_FORMS` takes than the better one, by the quickest of interleaved
    rounds. What the installed runtime does not run is left out.
    """
    costs = {}
    for name, make_form in COSTLY_FORMS.items():
        shape, costly, better = make_form()
        feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
        try:
            sessions = {"costly": open_timed_session(costly, config), "better": open_timed_session(better, config)}
        except OnnxslimError as error:  # 1.23 has no ConvInteger of int8 weights
            logger.info("%s: %s", name, error.message)
            continue
        timing = interleave(sessions, [feed], rounds=20, seconds=_SECONDS_PER_FORM)
        costs[name] = float(timing.rounds["costly"].min() / timing.rounds["better"].min())
    return costs


def _draw_blocks() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    """Blocks whose product is computed in float, and in int8."""
    models = []
    for accuracy_level in (0, 4):
        toy = ToyModel(1, 768)
        model = toy.build(toy("MatMul", toy.x, toy.random(768, 768)))
        name_nodes(model.graph.all_nodes())
        write_blockwise(model, 8)
        for node in model.graph:
            if node.op_type == "MatMulNBits":
                node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", accuracy_level)
        models.append(model)
    return (1, 768), models[0], models[1]


def _draw_conv(*, signed: bool = False, unsigned_weights: bool = False) -> ir.Model:
    """Three convolutions in int8, of activations in int8 or uint8 and weights in uint8 or int8."""
    dtype, zero_point = (np.int8, 0) if signed else (np.uint8, 128)
    toy = ToyModel(1, 64, 28, 28)
    value = toy.qdq(toy.x, zero_point=zero_point, dtype=dtype)
    for _ in range(3):
        weights = toy.weights(64, 64, 3, 3)
        if unsigned_weights:
            codes = toy.constant(np.random.default_rng(0).integers(0, 255, (64, 64, 3, 3)), np.uint8)
            weights = toy.dequantize(codes, 0.01)
        conv = toy("Conv", value, weights, pads=[1, 1, 1, 1])
        value = toy.qdq(conv, zero_point=zero_point, dtype=dtype)
    return toy.build(value)


def _draw_unfused() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    """Convolutions whose int32 bias is 5 % off the scale of their products, and at that scale."""
    shape, models = (1, 64, 28, 28), []
    for error in (1.05, 1.0):
        toy = ToyModel(*shape)
        value = toy.qdq(toy.x)
        for _ in range(3):
            bias = toy.bias(64, 0.02 * 0.01 * error)
            value = toy.qdq(toy("Conv", value, toy.weights(64, 64, 3, 3), bias, pads=[1, 1, 1, 1]))
        models.append(toy.build(value))
    return shape, models[0], models[1]


def _draw_signed_activations() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    return (1, 64, 28, 28), _draw_conv(signed=True), _draw_conv()


def _draw_unsigned_weights() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    return (1, 64, 28, 28), _draw_conv(unsigned_weights=True), _draw_conv()


def _draw_dynamic_conv() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    """A convolution that finds the range of its input at every run, and in float."""
    shape, models = (1, 64, 28, 28), []
    for is_integer in (True, False):
        toy = ToyModel(*shape)
        if is_integer:
            codes = toy.constant(np.random.default_rng(0).integers(-127, 128, (64, 64, 3, 3)), np.int8)
            quantized = toy("DynamicQuantizeLinear", toy.x, outputs=3)
            scale, zero_point = quantized.producer().outputs[1:]  # type: ignore[union-attr]
            product = toy("ConvInteger", quantized, codes, zero_point, pads=[1, 1, 1, 1])
            value = toy("Mul", toy("Cast", product, to=1), scale)
        else:
            value = toy("Conv", toy.x, toy.random(64, 64, 3, 3), pads=[1, 1, 1, 1])
        models.append(toy.build(value))
    return shape, models[0], models[1]


def _draw_normalization() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    """A BatchNormalization that weights do not hold, because something stands between it and its Conv."""
    shape, models = (1, 64, 28, 28), []
    for is_apart in (True, False):
        toy = ToyModel(*shape)
        value = toy("Conv", toy.x, toy.random(64, 64, 1, 1), toy.random(64))
        value = toy("Relu", value)
        if is_apart:
            ones = toy.constant(np.ones(64))
            value = toy("BatchNormalization", value, toy.random(64), toy.random(64), toy.random(64), ones)
        models.append(toy.build(value))
    return shape, models[0], models[1]


def _draw_listed_weights() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    """Convolutions whose weights a caller may replace, and whose weights are constants."""
    shape, models = (1, 64, 28, 28), []
    for is_listed in (True, False):
        toy = ToyModel(*shape)
        value = toy.x
        for _ in range(3):
            value = toy("Conv", value, toy.random(64, 64, 3, 3), pads=[1, 1, 1, 1])
        model = toy.build(value)
        if is_listed:
            model.graph.inputs.extend(model.graph.initializers.values())
        models.append(model)
    return shape, models[0], models[1]


def _draw_double() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    shape, models = (64, 512), []
    for is_double in (True, False):
        toy = ToyModel(*shape)
        weights = toy.random(512, 512)
        if is_double:
            double = toy("Cast", toy.x, to=11)
            value = toy("Cast", toy("MatMul", double, toy.constant(np.ones((512, 512)), np.float64)), to=1)
        else:
            value = toy("MatMul", toy.x, weights)
        models.append(toy.build(value))
    return shape, models[0], models[1]


def _draw_lstm() -> tuple[tuple[int, ...], ir.Model, ir.Model]:
    shape, models = make_lstm(20, 256)()
    return shape, models["float"], models["int8"]


#: Form → what draws it; the keys are those of :mod:`onnxslim.tools.hints`.
COSTLY_FORMS: dict[str, FormFactory] = {
    "MatMulNBits without accuracy_level": _draw_blocks,
    "int8 activations": _draw_signed_activations,
    "uint8 weights": _draw_unsigned_weights,
    "Q/DQ that does not fuse": _draw_unfused,
    "ConvInteger": _draw_dynamic_conv,
    "LSTM in float": _draw_lstm,
    "BatchNormalization apart": _draw_normalization,
    "weights among the inputs": _draw_listed_weights,
    "double precision": _draw_double,
}
