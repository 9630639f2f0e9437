"""Weights in blocks of 4 or 8 bits, each block with a scale of its own; arrays in, arrays out.

The layout is that of com.microsoft's MatMulNBits: for a layer of K inputs and N outputs, codes are uint8
(N, blocks, block · bits / 8) with two 4-bit codes a byte, the first in the low half; scales are float32 (N, blocks);
a code c stands for (c − 2^(bits − 1)) · scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim.quantization.numerics import gptq

#: Weights a block: 4 bits need small ones to be right, 8 bits are right anyway and faster in large ones.
BLOCK_SIZES = {4: 32, 8: 128}
#: Weights a block of 4 bits that GPTQ rounds: error feedback makes up for its being larger.
GPTQ_BLOCK_SIZE = 128
#: Damping of the inputs' second moments, as a share of their mean: there are often fewer samples than inputs.
GPTQ_DAMPING = 1.0
#: Shrinks of a block's range that are tried; the one with the least squared error is kept.
_RANGE_SHRINKS = {4: np.linspace(1.0, 0.7, 13), 8: np.ones(1)}


@dataclass(frozen=True)
class BlockwiseWeight:
    """One matrix in blocks along K.

    Attributes:
        codes: Packed, uint8 (N, blocks, block · bits / 8).
        scales: float32 (N, blocks); negative where the block's largest weight is positive, so that it can use the one
            code more that the negative side has.
        bits: 4 or 8.
        block_size: Weights a block; the last block is padded with zeros.
        in_features: K.
    """

    codes: np.ndarray
    scales: np.ndarray
    bits: int
    block_size: int
    in_features: int

    def dequantize(self) -> np.ndarray:
        """The weights that the codes stand for, float32 (N, K)."""
        codes = unpack(self.codes) if self.bits == 4 else self.codes
        values = (codes.astype(np.float32) - 2 ** (self.bits - 1)) * self.scales[:, :, None]
        weights: np.ndarray = values.reshape(len(codes), -1)[:, : self.in_features]
        return weights


def quantize_blockwise(weight: np.ndarray, bits: int, block_size: int | None = None) -> BlockwiseWeight:
    """``weight`` float32 (N, K) in blocks, each rounded with the scale that is closest in squared error.

    Args:
        weight: A layer's.
        bits: 4 or 8.
        block_size: Weights a block, a power of two from 16 on; :data:`BLOCK_SIZES` has the default.
    """
    size = block_size or BLOCK_SIZES[bits]
    values = _split_blocks(weight, size)
    middle = 2 ** (bits - 1)
    largest = np.take_along_axis(values, np.abs(values).argmax(axis=2, keepdims=True), axis=2)
    codes, scales = _search_scales(values, -largest[:, :, 0] / middle, bits)
    shifted = (codes + middle).astype(np.uint8)
    return BlockwiseWeight(pack(shifted) if bits == 4 else shifted, scales, bits, size, weight.shape[1])


def quantize_gptq(weight: np.ndarray, gram: np.ndarray) -> BlockwiseWeight:
    """``weight`` in 4 bits and blocks of :data:`GPTQ_BLOCK_SIZE`, rounded with the least error of the layer's outputs.

    GPTQ (Frantar et al., 2022). A block's scale is chosen when its turn comes, with errors weighed by the energy of the
    inputs.

    Args:
        weight: float32 (N, K).
        gram: float64 (K, K), the second moments of the layer's inputs, their means apart.
    """
    inputs, middle, energy = weight.shape[1], 8, np.diag(gram)
    block_scales: list[np.ndarray] = []

    def choose_scales(start: int, block: np.ndarray) -> np.ndarray:
        values, error_weights = block[0][:, None], energy[start : start + block.shape[2]] + GPTQ_DAMPING * energy.mean()
        largest = np.take_along_axis(values, np.abs(values).argmax(axis=2, keepdims=True), axis=2)
        block_scales.append(_search_scales(values, -largest[:, :, 0] / middle, 4, error_weights)[1])
        return block_scales[-1].T

    codes = gptq.round_with_feedback(
        weight[None],
        gptq.factor_inverse_hessian(gram[None], GPTQ_DAMPING),
        (-middle, middle - 1),
        GPTQ_BLOCK_SIZE,
        choose_scales,
    )[0]
    shifted = (_split_blocks(codes, GPTQ_BLOCK_SIZE) + middle).astype(np.uint8)
    return BlockwiseWeight(pack(shifted), np.concatenate(block_scales, axis=1), 4, GPTQ_BLOCK_SIZE, inputs)


def quantize_symmetric(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """``weight`` float32 (N, K) as DequantizeLinear reads it: codes int8 (N, K) and positive scales float32 (N, blocks)."""
    values = _split_blocks(weight, BLOCK_SIZES[bits])
    codes, scales = _search_scales(values, np.abs(values).max(axis=2) / (2 ** (bits - 1) - 1), bits)
    return codes.astype(np.int8).reshape(len(weight), -1)[:, : weight.shape[1]], scales


def _split_blocks(weight: np.ndarray, size: int) -> np.ndarray:
    """(N, blocks, size), the last block padded with zeros."""
    outputs, inputs = weight.shape
    blocks = -(-inputs // size)
    padded = np.zeros((outputs, blocks * size), np.float32)
    padded[:, :inputs] = weight
    return padded.reshape(outputs, blocks, size)


def _search_scales(
    values: np.ndarray, initial_scales: np.ndarray, bits: int, error_weights: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the shape of ``values`` and a scale a block: of the shrunk ``initial_scales`` the one with the least
    squared error.

    Errors count ``error_weights`` times, which is broadcast over the weights of a block.
    """
    middle = 2 ** (bits - 1)
    best = np.full(initial_scales.shape, np.inf, np.float32)
    scales, codes = np.ones(initial_scales.shape, np.float32), np.zeros(values.shape, np.float32)
    for shrink in _RANGE_SHRINKS[bits]:
        scale = (initial_scales * np.float32(shrink)).astype(np.float32)
        scale = np.where(np.abs(scale) > 1e-30, scale, np.float32(1.0))
        candidate = np.clip(np.rint(values / scale[:, :, None]), -middle, middle - 1)
        error = (np.square(candidate * scale[:, :, None] - values) * error_weights).sum(axis=2)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        codes = np.where(better[:, :, None], candidate, codes)
    return codes, scales


def pack(codes: np.ndarray) -> np.ndarray:
    """4-bit codes (…, 2n) two a byte: uint8 (…, n), the first in the low half."""
    packed: np.ndarray = codes[..., ::2] | (codes[..., 1::2] << 4)
    return packed


def unpack(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`pack`."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1)
    return nibbles.reshape(*packed.shape[:-1], -1)
