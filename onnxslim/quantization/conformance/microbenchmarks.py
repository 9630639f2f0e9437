"""How much faster int8 is than float on the machine at hand, layer by layer: what the tables assume, measured.

A few layers of sizes that occur, in float and in int8, timed side by side. ``onnxslim doctor`` prints the ratios, so that
a machine that nobody here has can be told apart from the ones that the defaults were measured on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.quantization.dynamic.lstm import LstmForm, find_lstm_layers, write_lstms
from onnxslim.quantization.dynamic.rewrite import write_dynamic
from onnxslim.quantization.linear_layers import find_weight_matrices
from onnxslim.quantization.weight_only.blocks import write_blockwise
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave

_SECONDS_PER_LAYER = 0.25

#: Draws a layer: the shape of its input, and the models ``float`` and ``int8``.
LayerFactory = Callable[[], tuple[tuple[int, ...], dict[str, ir.Model]]]


def measure_int8_speedups(config: SessionConfig | None = None) -> dict[str, float]:
    """How many times faster each layer is in int8, conversions at both ends included.

    The quickest of interleaved rounds, not their median: layers of 20 us are drowned by whatever else the machine does.
    """
    speedups = {}
    for name, make_layer in BENCHMARK_LAYERS.items():
        shape, models = make_layer()
        feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
        sessions = {key: open_timed_session(model, config) for key, model in models.items()}
        timing = interleave(sessions, [feed], rounds=20, seconds=_SECONDS_PER_LAYER)
        speedups[name] = float(timing.rounds["float"].min() / timing.rounds["int8"].min())
    return speedups


def make_convolutions(channels: int, outputs: int, size: int, kernel: int, group: int = 1) -> LayerFactory:
    """Three convolutions in a row where the channels allow it, so that one conversion does not decide."""

    def make_layer() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (1, channels, size, size), {}
        channel_counts = [channels, *([outputs] * (3 if outputs == channels else 1))]
        pads = [kernel // 2] * 4
        for key in ("float", "int8"):
            toy = ToyModel(*shape)
            value = toy.x if key == "float" else toy.qdq(toy.x)
            for in_channels, out_channels in pairwise(channel_counts):
                weight_shape = (out_channels, in_channels // group, kernel, kernel)
                weight = toy.random(*weight_shape) if key == "float" else toy.weights(*weight_shape)
                value = toy("Conv", value, weight, pads=pads, group=group)
                value = value if key == "float" else toy.qdq(value)
            models[key] = toy.build(value)
        return shape, models

    return make_layer


def _make_linear(rows: int, bits: int = 0) -> LayerFactory:
    """A linear layer of 768 x 768, dynamic, or in blocks of ``bits``."""

    def make_layer() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (rows, 768), {}
        for key in ("float", "int8"):
            toy = ToyModel(*shape)
            models[key] = toy.build(toy("MatMul", toy.x, toy.random(768, 768)))
        name_nodes(models["int8"].graph.all_nodes())
        if bits:
            write_blockwise(models["int8"], bits)
        else:
            write_dynamic(models["int8"], find_weight_matrices(models["int8"])[0])
        return shape, models

    return make_layer


def make_lstm(steps: int, hidden: int) -> LayerFactory:
    """An LSTM of as many inputs as hidden units."""

    def make_layer() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (steps, 1, hidden), {}
        for key in ("float", "int8"):
            toy = ToyModel(*shape)
            weights = toy.random(1, 4 * hidden, hidden), toy.random(1, 4 * hidden, hidden)
            models[key] = toy.build(toy("LSTM", toy.x, *weights, hidden_size=hidden))
        name_nodes(models["int8"].graph.all_nodes())
        layers = find_lstm_layers(models["int8"])[0]
        write_lstms(models["int8"], {layer.name: LstmForm() for layer in layers})
        return shape, models

    return make_layer


def _make_normalization(rows: int, width: int) -> LayerFactory:
    """A residual Add that the runtime fuses with its LayerNormalization, against a Sum that it does not."""

    def make_layer() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (1, rows, width), {}
        for key, op in (("float", "Add"), ("int8", "Sum")):
            toy = ToyModel(*shape)
            models[key] = toy.build(
                toy("LayerNormalization", toy(op, toy.x, toy.x), toy.random(width), toy.random(width), axis=-1)
            )
        return shape, models

    return make_layer


def make_silu(channels: int, size: int) -> LayerFactory:
    """Three x * Sigmoid(x) in a row: one kernel each in float, two in int8."""

    def make_layer() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (1, channels, size, size), {}
        for key in ("float", "int8"):
            toy = ToyModel(*shape)
            value = toy.x if key == "float" else toy.qdq(toy.x)
            for _ in range(3):
                gate = toy("Sigmoid", value)
                value = toy("Mul", value, gate if key == "float" else toy.qdq(gate, 1 / 256, 0))
                value = value if key == "float" else toy.qdq(value)
            models[key] = toy.build(value)
        return shape, models

    return make_layer


BENCHMARK_LAYERS = {
    "Conv 3x3, 64 channels": make_convolutions(64, 64, 28, 3),
    "Conv 1x1, 192 channels": make_convolutions(192, 192, 14, 1),
    "first Conv, 3 to 32 channels": make_convolutions(3, 32, 112, 3),
    "depthwise Conv, 96 channels": make_convolutions(96, 96, 28, 3, group=96),
    "depthwise Conv, 100 channels": make_convolutions(100, 100, 28, 3, group=100),
    "SiLU, 64 channels": make_silu(64, 52),
    "dynamic linear layer, 128 rows": _make_linear(128),
    "LSTM, 256 hidden units, 20 steps": make_lstm(20, 256),
    "8-bit blocks, 1 row": _make_linear(1, 8),
    "4-bit blocks, 1 row": _make_linear(1, 4),
    "4-bit blocks, 128 rows": _make_linear(128, 4),
    "residual Sum instead of a fused Add": _make_normalization(64, 384),
}
