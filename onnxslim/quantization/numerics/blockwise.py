"""Weights in blocks of 2, 4 or 8 bits, each block with a scale of its own; arrays in, arrays out.

The layout is that of com.microsoft's MatMulNBits: for a layer of K inputs and N outputs, codes are uint8
(N, blocks, block · bits / 8) with two 4-bit codes a byte, or four of 2 bits, the first in the lowest bits; scales are
float32 (N, blocks); zero points, where there are any, lie as close, uint8 (N, ⌈blocks · bits / 8⌉). A code c stands for
(c − zero point) · scale, the zero point being 2^(bits − 1) where none is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim.quantization.numerics import gptq
from onnxslim.quantization.numerics.block_grids import BlockFormat, search_grid, search_scales

#: Weights a block: 4 bits need small ones to be right, 8 bits are right anyway and faster in large ones.
BLOCK_SIZES = {4: 32, 8: 128}
#: Weights a block of 4 bits that GPTQ rounds: error feedback makes up for its being larger.
GPTQ_BLOCK_SIZE = 128
GPTQ_FORMAT = BlockFormat(4, GPTQ_BLOCK_SIZE)
#: Damping of the inputs' second moments, as a share of their mean: there are often fewer samples than inputs.
GPTQ_DAMPING = 1.0
#: Weights that are rounded with feedback at a time, which takes some forty bytes of each.
MAX_FEEDBACK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class BlockwiseWeight:
    """One matrix in blocks along K.

    Attributes:
        codes: Packed, uint8 (N, blocks, block · bits / 8).
        scales: float32 (N, blocks); negative where a block without a zero point has its largest weight above 0.
        bits: 2, 4 or 8.
        block_size: Weights a block; the last block is padded with zeros.
        in_features: K.
        zero_points: Packed, uint8 (N, ⌈blocks · bits / 8⌉); None where they are all 2^(bits − 1).
    """

    codes: np.ndarray
    scales: np.ndarray
    bits: int
    block_size: int
    in_features: int
    zero_points: np.ndarray | None = None

    def dequantize(self) -> np.ndarray:
        """The weights that the codes stand for, float32 (N, K)."""
        zero_points: np.ndarray | float = 2.0 ** (self.bits - 1)
        if self.zero_points is not None:
            unpacked = unpack(self.zero_points, self.bits)[:, : self.scales.shape[1], None]
            zero_points = unpacked.astype(np.float32)
        values = (unpack(self.codes, self.bits).astype(np.float32) - zero_points) * self.scales[:, :, None]
        weights: np.ndarray = values.reshape(len(self.codes), -1)[:, : self.in_features]
        return weights


def quantize_blockwise(weight: np.ndarray, bits: int, block_size: int | None = None) -> BlockwiseWeight:
    """``weight`` float32 (N, K) in blocks, each rounded with the scale that is closest in squared error.

    Args:
        weight: A layer's.
        bits: 4 or 8.
        block_size: Weights a block, a power of two from 16 on; :data:`BLOCK_SIZES` has the default.
    """
    return quantize_nearest(weight, BlockFormat(bits, block_size or BLOCK_SIZES[bits]))


def quantize_nearest(
    weight: np.ndarray, block_format: BlockFormat, *, error_weights: np.ndarray | None = None
) -> BlockwiseWeight:
    """``weight`` float32 (N, K) rounded to nearest in blocks of ``block_format``.

    Args:
        weight: A layer's, or a table.
        block_format: Bits, block size, zero points or none.
        error_weights: float (K,), how often the error of an input's weight counts where ranges are chosen.
    """
    size = block_format.block_size
    values = _split_blocks(weight, size)
    counts = 1.0 if error_weights is None else _split_blocks(error_weights[None].astype(np.float32), size)
    grid = search_grid(values, block_format.bits, has_zero_point=block_format.has_zero_point, error_weights=counts)
    return _assemble(grid.codes, grid.scales, grid.zero_points, block_format, weight.shape[1])


@dataclass(frozen=True)
class Feedback:
    """How what a layer's roundings lose goes on to weights that are rounded later.

    Attributes:
        factor: Of :func:`~onnxslim.quantization.numerics.gptq.factor_inverse_hessian`, float64 (1, K, K).
        energy: How often the error of an input's weight counts where ranges are chosen, float64 (K,).
    """

    factor: np.ndarray
    energy: np.ndarray


def make_feedback(gram: np.ndarray, damping: float) -> Feedback:
    """The feedback by the second moments ``gram`` (K, K) of a layer's inputs, their diagonal raised by a share ``damping``
    of its mean.
    """
    energy = np.diag(gram).astype(np.float64)
    factor = gptq.factor_inverse_hessian(gram[None].astype(np.float64, copy=False), damping)
    return Feedback(factor, energy + damping * energy.mean())


def quantize_gptq(weight: np.ndarray, gram: np.ndarray) -> BlockwiseWeight:
    """``weight`` float32 (N, K) in :data:`GPTQ_FORMAT`, rounded with the least error of the layer's outputs.

    Args:
        weight: A layer's.
        gram: float64 (K, K), the second moments of the layer's inputs, their means apart.
    """
    return quantize_with_feedback(weight, make_feedback(gram, GPTQ_DAMPING), GPTQ_FORMAT)


def quantize_with_feedback(weight: np.ndarray, feedback: Feedback, block_format: BlockFormat) -> BlockwiseWeight:
    """``weight`` float32 (N, K) in blocks of ``block_format``, rounded with the least error of the layer's outputs.

    GPTQ (Frantar et al., 2022). A block's scale is chosen when its turn comes, with errors weighed by the energy of the
    inputs.

    Args:
        weight: A layer's; rows do not depend on each other.
        feedback: Of its inputs.
        block_format: Bits, block size, zero points or none.
    """
    rows = max(1, MAX_FEEDBACK_ELEMENTS // weight.shape[1])
    parts = [_round_rows(weight[first : first + rows], feedback, block_format) for first in range(0, len(weight), rows)]
    codes, scales, zero_points = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _assemble(codes, scales, zero_points, block_format, weight.shape[1])


def _round_rows(
    weight: np.ndarray, feedback: Feedback, block_format: BlockFormat
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (N, blocks, block), scales and zero points (N, blocks) of some rows."""
    size, top = block_format.block_size, 2**block_format.bits - 1
    scales: list[np.ndarray] = []
    zero_points: list[np.ndarray] = []

    def choose_grid(start: int, block: np.ndarray) -> gptq.CodeGrid:
        grid = search_grid(
            block[0][:, None], block_format.bits, has_zero_point=block_format.has_zero_point,
            error_weights=feedback.energy[start : start + block.shape[2]],
        )  # fmt: skip
        scales.append(grid.scales)
        zero_points.append(grid.zero_points)
        return gptq.CodeGrid(grid.scales.T, -grid.zero_points.T, top - grid.zero_points.T)

    signed = gptq.round_with_feedback(weight[None], feedback.factor, size, choose_grid)[0]
    zeros = np.concatenate(zero_points, axis=1)
    return _split_blocks(signed, size) + zeros[:, :, None], np.concatenate(scales, axis=1), zeros


def _assemble(
    codes: np.ndarray, scales: np.ndarray, zero_points: np.ndarray, block_format: BlockFormat, inputs: int
) -> BlockwiseWeight:
    bits = block_format.bits
    packed = pack(zero_points.astype(np.uint8), bits) if block_format.has_zero_point else None
    return BlockwiseWeight(pack(codes.astype(np.uint8), bits), scales, bits, block_format.block_size, inputs, packed)


def quantize_symmetric(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """``weight`` float32 (N, K) as DequantizeLinear reads it: codes int8 (N, K) and positive scales float32 (N, blocks)."""
    values = _split_blocks(weight, BLOCK_SIZES[bits])
    codes, scales = search_scales(values, np.abs(values).max(axis=2) / (2 ** (bits - 1) - 1), bits)
    return codes.astype(np.int8).reshape(len(weight), -1)[:, : weight.shape[1]], scales


def _split_blocks(weight: np.ndarray, size: int) -> np.ndarray:
    """(N, blocks, size), the last block padded with zeros."""
    outputs, inputs = weight.shape
    blocks = -(-inputs // size)
    padded = np.zeros((outputs, blocks * size), np.float32)
    padded[:, :inputs] = weight
    return padded.reshape(outputs, blocks, size)


def pack(codes: np.ndarray, bits: int = 4) -> np.ndarray:
    """Codes (…, n) as many a byte as there is room for: uint8 (…, ⌈n · bits / 8⌉), the first in the lowest bits."""
    count = 8 // bits
    if missing := -codes.shape[-1] % count:
        codes = np.concatenate([codes, np.zeros((*codes.shape[:-1], missing), codes.dtype)], axis=-1)
    packed: np.ndarray = codes[..., ::count].copy()
    for index in range(1, count):
        packed |= codes[..., index::count] << (bits * index)
    return packed


def unpack(packed: np.ndarray, bits: int = 4) -> np.ndarray:
    """The inverse of :func:`pack`, the codes that the last byte was filled up with included."""
    codes = np.stack([packed >> shift & (2**bits - 1) for shift in range(0, 8, bits)], axis=-1)
    return codes.reshape(*packed.shape[:-1], -1)
