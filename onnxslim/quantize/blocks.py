"""Weights in blocks of 4 or 8 bits, each block with a scale of its own; arrays in, arrays out.

The layout is that of com.microsoft's MatMulNBits: for a layer of K inputs and N outputs, codes are uint8
(N, blocks, block · bits / 8) with two 4-bit codes a byte, the first in the low half; scales are float32 (N, blocks);
a code c stands for (c − 2^(bits − 1)) · scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim.quantize import solve

#: Weights a block: 4 bits need small ones to be right, 8 bits are right anyway and faster in large ones.
SIZES = {4: 32, 8: 128}
#: Weights a block of 4 bits that is fitted to inputs: error feedback makes up for its being larger.
FITTED = 128
#: Damping of the inputs' second moments, as a share of their mean: there are often fewer samples than inputs.
DAMPING = 1.0
#: Shrinks of a block's range that are tried; the one with the least squared error is kept.
_SHRINKS = {4: np.linspace(1.0, 0.7, 13), 8: np.ones(1)}


@dataclass(frozen=True)
class Blocks:
    """One matrix in blocks along K.

    Attributes:
        codes: Packed, uint8 (N, blocks, block · bits / 8).
        scales: float32 (N, blocks); negative where the block's largest weight is positive, so that it can use the one
            code more that the negative side has.
        bits: 4 or 8.
        size: Weights a block; the last block is padded with zeros.
        inputs: K.
    """

    codes: np.ndarray
    scales: np.ndarray
    bits: int
    size: int
    inputs: int

    def dequantise(self) -> np.ndarray:
        """The weights that the codes stand for, float32 (N, K)."""
        codes = unpack(self.codes) if self.bits == 4 else self.codes
        values = (codes.astype(np.float32) - 2 ** (self.bits - 1)) * self.scales[:, :, None]
        found: np.ndarray = values.reshape(len(codes), -1)[:, : self.inputs]
        return found


def quantise(weight: np.ndarray, bits: int) -> Blocks:
    """``weight`` float32 (N, K) in blocks, each rounded with the scale that is closest in squared error."""
    values = _in_blocks(weight, SIZES[bits])
    middle = 2 ** (bits - 1)
    largest = np.take_along_axis(values, np.abs(values).argmax(axis=2, keepdims=True), axis=2)
    codes, scales = _rounded(values, -largest[:, :, 0] / middle, bits)
    shifted = (codes + middle).astype(np.uint8)
    return Blocks(pack(shifted) if bits == 4 else shifted, scales, bits, SIZES[bits], weight.shape[1])


def fitted(weight: np.ndarray, gram: np.ndarray) -> Blocks:
    """``weight`` in 4 bits and blocks of :data:`FITTED`, rounded with the least error of the layer's outputs.

    GPTQ (Frantar et al., 2022). A block's scale is chosen when its turn comes, with errors weighed by the energy of the
    inputs.

    Args:
        weight: float32 (N, K).
        gram: float64 (K, K), the second moments of the layer's inputs, their means apart.
    """
    inputs, middle, energy = weight.shape[1], 8, np.diag(gram)
    chosen: list[np.ndarray] = []

    def scales(start: int, block: np.ndarray) -> np.ndarray:
        values, weigh = block[0][:, None], energy[start : start + block.shape[2]] + DAMPING * energy.mean()
        largest = np.take_along_axis(values, np.abs(values).argmax(axis=2, keepdims=True), axis=2)
        chosen.append(_rounded(values, -largest[:, :, 0] / middle, 4, weigh)[1])
        return chosen[-1].T

    codes = solve.fed_back(weight[None], solve.feedback(gram[None], DAMPING), (-middle, middle - 1), FITTED, scales)[0]
    shifted = (_in_blocks(codes, FITTED) + middle).astype(np.uint8)
    return Blocks(pack(shifted), np.concatenate(chosen, axis=1), 4, FITTED, inputs)


def signed(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """``weight`` float32 (N, K) as DequantizeLinear reads it: codes int8 (N, K) and positive scales float32 (N, blocks)."""
    values = _in_blocks(weight, SIZES[bits])
    codes, scales = _rounded(values, np.abs(values).max(axis=2) / (2 ** (bits - 1) - 1), bits)
    return codes.astype(np.int8).reshape(len(weight), -1)[:, : weight.shape[1]], scales


def _in_blocks(weight: np.ndarray, size: int) -> np.ndarray:
    """(N, blocks, size), the last block padded with zeros."""
    outputs, inputs = weight.shape
    blocks = -(-inputs // size)
    padded = np.zeros((outputs, blocks * size), np.float32)
    padded[:, :inputs] = weight
    return padded.reshape(outputs, blocks, size)


def _rounded(
    values: np.ndarray, steps: np.ndarray, bits: int, weigh: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the shape of ``values`` and a scale a block: of the shrunk ``steps`` the one with the least squared error.

    Errors count ``weigh`` times, which is broadcast over the weights of a block.
    """
    middle = 2 ** (bits - 1)
    best = np.full(steps.shape, np.inf, np.float32)
    scales, codes = np.ones(steps.shape, np.float32), np.zeros(values.shape, np.float32)
    for shrink in _SHRINKS[bits]:
        step = (steps * np.float32(shrink)).astype(np.float32)
        step = np.where(np.abs(step) > 1e-30, step, np.float32(1.0))
        tried = np.clip(np.rint(values / step[:, :, None]), -middle, middle - 1)
        error = (np.square(tried * step[:, :, None] - values) * weigh).sum(axis=2)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, step, scales)
        codes = np.where(better[:, :, None], tried, codes)
    return codes, scales


def pack(codes: np.ndarray) -> np.ndarray:
    """4-bit codes (…, 2n) two a byte: uint8 (…, n), the first in the low half."""
    packed: np.ndarray = codes[..., ::2] | (codes[..., 1::2] << 4)
    return packed


def unpack(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`pack`."""
    both = np.stack([packed & 15, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], -1)
