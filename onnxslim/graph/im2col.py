"""The patches that a convolution multiplies; arrays in, arrays out.

A transposed convolution is a plain one with the kernel turned around, over its input with zeros put between the elements;
seen so, both are the same rows to least squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ConvGeometry:
    """How a convolution reads its input; one entry per spatial axis.

    Attributes:
        kernel: Kernel size.
        strides: Step of the output's positions.
        dilations: Step within the kernel.
        begins: Zeros before the first element.
        ends: Zeros after the last.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    def output_shape(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the output for an input of sizes ``spatial``."""
        return tuple(
            (size + b + e - d * (k - 1) - 1) // s + 1
            for size, k, s, d, b, e in zip(
                spatial, self.kernel, self.strides, self.dilations, self.begins, self.ends, strict=True
            )
        )


def unfold(x: np.ndarray, geometry: ConvGeometry, positions: np.ndarray) -> np.ndarray:
    """The input patches at some output positions, in the order of a Conv's weight.

    Args:
        x: (n, c, *spatial).
        geometry: The convolution's geometry.
        positions: int64 (n, p), flat output positions of each sample.

    Returns:
        (n, p, c, prod(kernel)), the dtype of ``x``, zeros where a patch reaches over the border.
    """
    n, channels = x.shape[:2]
    output_shape = geometry.output_shape(x.shape[2:])
    padded = x
    if any((*geometry.begins, *geometry.ends)):
        padded = np.pad(x, [(0, 0), (0, 0), *zip(geometry.begins, geometry.ends, strict=True)])
    corners = [i * s for i, s in zip(np.unravel_index(positions, output_shape), geometry.strides, strict=True)]
    sample = np.arange(n)[:, None]
    patches = np.empty((*positions.shape, channels, math.prod(geometry.kernel)), x.dtype)
    for tap, offset in enumerate(np.ndindex(*geometry.kernel)):
        index = tuple(c + o * d for c, o, d in zip(corners, offset, geometry.dilations, strict=True))
        patches[..., tap] = padded[(sample, slice(None), *index)]
    return patches


def insert_zeros(x: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """``x`` (n, c, *spatial) with its elements ``steps`` apart along each spatial axis, and zeros between them."""
    sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], steps, strict=True)]
    stuffed = np.zeros((*x.shape[:2], *sizes), x.dtype)
    stuffed[(slice(None), slice(None), *(slice(None, None, step) for step in steps))] = x
    return stuffed


def mirror_kernel(weight: np.ndarray) -> np.ndarray:
    """The weight (c, m, *kernel) of a ConvTranspose as the Conv's that it amounts to, (m, c, *kernel); or back."""
    return np.flip(weight, axis=tuple(range(2, weight.ndim))).swapaxes(0, 1)
