"""Which formats of blocks the installed runtime multiplies with, asked of it: right, and by a kernel made for them.

A format without a kernel of its own is expanded at every product, which was seen to take a hundred times as long.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.numerics.blockwise import BlockwiseWeight, quantize_nearest
from onnxslim.quantization.weight_only.blocks import ACCURACY_LEVEL
from onnxslim.runtime.devices.device import TimedSession
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave

logger = logging.getLogger(__name__)

#: What is asked for, from the fewest bits: small blocks take twice the time of large ones for little, and 8 bits are right
#: in large ones.
BLOCK_FORMATS = tuple(
    BlockFormat(bits, size, has_zero_point)
    for bits, size, has_zero_point in (
        (2, 128, True), (2, 64, True),
        (4, 128, False), (4, 128, True), (4, 64, True), (4, 32, True),
        (8, 128, False), (8, 64, False), (8, 32, False),
    )
)  # fmt: skip
#: Inputs and outputs of what is tried.
_SIZE = 256
#: What int8 activations in blocks may lose, as a share of the outputs' norm.
_MAX_ERROR = 0.03
#: Times the fastest kernel's time that a kernel may take.
_MAX_TIME_RATIO = 4.0
_SECONDS = 0.3


def find_block_formats(config: SessionConfig, *, by_time: bool = True) -> list[BlockFormat]:
    """Those of :data:`BLOCK_FORMATS` that MatMulNBits computes right here, ``by_time`` also fast enough."""
    sessions: dict[str, TimedSession] = {}
    x = np.random.default_rng(0).standard_normal((1, _SIZE)).astype(np.float32)
    for block_format, quantized in _draw_weights():
        model = _build(quantized, is_table=False)
        session = _start(model, {"x": x}, x @ quantized.dequantize().T, config)
        if session is not None:
            sessions[str(block_format)] = session
    found = [block_format for block_format in BLOCK_FORMATS if str(block_format) in sessions]
    if not by_time or not sessions:
        return found
    timing = interleave(sessions, [{"x": x}], rounds=9, seconds=_SECONDS)
    times = {name: float(seconds.min()) for name, seconds in timing.rounds.items()}
    fastest = min(times.values())
    return [block_format for block_format in found if times[str(block_format)] <= _MAX_TIME_RATIO * fastest]


def find_table_formats(config: SessionConfig) -> list[BlockFormat]:
    """Those of :data:`BLOCK_FORMATS` whose rows GatherBlockQuantized looks up right here."""
    ids = np.array([3, 0, 7], np.int64)
    return [
        block_format
        for block_format, quantized in _draw_weights()
        if _start(_build(quantized, is_table=True), {"ids": ids}, quantized.dequantize()[ids], config) is not None
    ]


def _draw_weights() -> Iterator[tuple[BlockFormat, BlockwiseWeight]]:
    weight = np.random.default_rng(1).standard_normal((_SIZE, _SIZE)).astype(np.float32)
    for block_format in BLOCK_FORMATS:
        yield block_format, quantize_nearest(weight, block_format)


def _build(quantized: BlockwiseWeight, *, is_table: bool) -> ir.Model:
    toy = ToyModel(1, _SIZE)
    codes, scales = toy.constant(quantized.codes, np.uint8), toy.constant(quantized.scales)
    zero_points = [] if quantized.zero_points is None else [toy.constant(quantized.zero_points, np.uint8)]
    layout = {"bits": quantized.bits, "block_size": quantized.block_size}
    if not is_table:
        attributes = {**layout, "K": _SIZE, "N": _SIZE, "accuracy_level": ACCURACY_LEVEL}
        return toy.build(toy("MatMulNBits", toy.x, codes, scales, *zero_points, domain="com.microsoft", **attributes))
    ids = ir.val("ids", ir.DataType.INT64, [3])
    rows = toy.constant(quantized.codes.reshape(_SIZE, -1), np.uint8)
    looked_up = toy(
        "GatherBlockQuantized", rows, ids, scales, *zero_points, domain="com.microsoft", gather_axis=0, quantize_axis=1,
        **layout,
    )  # fmt: skip
    model = toy.build(looked_up)
    model.graph.inputs[:] = [ids]
    return model


def _start(model: ir.Model, feed: dict[str, np.ndarray], wanted: np.ndarray, config: SessionConfig) -> TimedSession | None:
    """A session of ``model`` where it gives what is wanted, else None."""
    try:
        session = open_timed_session(model, config)
        (got,) = session.run(feed).values()
    except OnnxslimError as error:
        logger.info("blocks: %s", error.message)
        return None
    return session if np.linalg.norm(got - wanted) <= _MAX_ERROR * np.linalg.norm(wanted) else None
