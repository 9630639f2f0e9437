"""How much faster int8 is than float on the machine at hand, layer by layer: what the tables assume, measured.

A few layers of sizes that occur, in float and in int8, timed side by side. ``onnxslim doctor`` prints the ratios, so that
a machine that nobody here has can be told apart from the ones that the defaults were measured on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.quantize.integer import write_dynamic
from onnxslim.quantize.linear import weights
from onnxslim.quantize.plan import name_nodes
from onnxslim.quantize.sketch import Sketch
from onnxslim.quantize.weightonly import write_blocks
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.timing import interleave

_SECONDS = 0.25

#: Draws a layer: the shape of its input, and the models ``float`` and ``int8``.
Draw = Callable[[], tuple[tuple[int, ...], dict[str, ir.Model]]]


def paces(config: SessionConfig | None = None) -> dict[str, float]:
    """How many times faster each layer is in int8, conversions at both ends included.

    The quickest of interleaved rounds, not their median: layers of 20 us are drowned by whatever else the machine does.
    """
    result = {}
    for name, draw in LAYERS.items():
        shape, models = draw()
        feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
        sessions = {key: Session(model, config) for key, model in models.items()}
        timing = interleave(sessions, [feed], rounds=20, seconds=_SECONDS)
        result[name] = float(timing.rounds["float"].min() / timing.rounds["int8"].min())
    return result


def _convolutions(channels: int, outputs: int, size: int, kernel: int, group: int = 1) -> Draw:
    """Three convolutions in a row where the channels allow it, so that one conversion does not decide."""

    def draw() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (1, channels, size, size), {}
        layers = [channels, *([outputs] * (3 if outputs == channels else 1))]
        pads = [kernel // 2] * 4
        for key in ("float", "int8"):
            s = Sketch(*shape)
            value = s.x if key == "float" else s.qdq(s.x)
            for into, out in pairwise(layers):
                size_of = (out, into // group, kernel, kernel)
                weight = s.random(*size_of) if key == "float" else s.weights(*size_of)
                value = s("Conv", value, weight, pads=pads, group=group)
                value = value if key == "float" else s.qdq(value)
            models[key] = s.model(value)
        return shape, models

    return draw


def _linear(rows: int, bits: int = 0) -> Draw:
    """A linear layer of 768 x 768, dynamic, or in blocks of ``bits``."""

    def draw() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (rows, 768), {}
        for key in ("float", "int8"):
            s = Sketch(*shape)
            models[key] = s.model(s("MatMul", s.x, s.random(768, 768)))
        name_nodes(models["int8"])
        if bits:
            write_blocks(models["int8"], Account(""), bits)
        else:
            write_dynamic(models["int8"], weights(models["int8"], Account("")))
        return shape, models

    return draw


def _normalisation(rows: int, width: int) -> Draw:
    """A residual Add that the runtime fuses with its LayerNormalization, against a Sum that it does not."""

    def draw() -> tuple[tuple[int, ...], dict[str, ir.Model]]:
        shape, models = (1, rows, width), {}
        for key, op in (("float", "Add"), ("int8", "Sum")):
            s = Sketch(*shape)
            models[key] = s.model(s("LayerNormalization", s(op, s.x, s.x), s.random(width), s.random(width), axis=-1))
        return shape, models

    return draw


LAYERS = {
    "Conv 3x3, 64 channels": _convolutions(64, 64, 28, 3),
    "Conv 1x1, 192 channels": _convolutions(192, 192, 14, 1),
    "first Conv, 3 to 32 channels": _convolutions(3, 32, 112, 3),
    "depthwise Conv, 96 channels": _convolutions(96, 96, 28, 3, group=96),
    "depthwise Conv, 100 channels": _convolutions(100, 100, 28, 3, group=100),
    "dynamic linear layer, 128 rows": _linear(128),
    "8-bit blocks, 1 row": _linear(1, 8),
    "4-bit blocks, 1 row": _linear(1, 4),
    "4-bit blocks, 128 rows": _linear(128, 4),
    "residual Sum instead of a fused Add": _normalisation(64, 384),
}
