"""The rows that a layer multiplies: its input unfolded at sampled output positions; arrays in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PatchGeometry:
    """The geometry of a convolution over n spatial axes (ONNX Conv's attributes).

    Attributes:
        kernel: Size per axis.
        strides: Step per axis.
        dilations: Distance of taps per axis.
        pad_begins: Padding before the first element, per axis.
        groups: Channel groups.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pad_begins: tuple[int, ...]
    groups: int = 1


def unfold(
    x: np.ndarray,
    geometry: PatchGeometry,
    positions: np.ndarray,
    output_sizes: Sequence[int],
    to_float: Callable[[np.ndarray], np.ndarray] = lambda some: some,
) -> np.ndarray:
    """Patches of one image.

    Args:
        x: (C, *spatial).
        geometry: The convolution.
        positions: int64 (p,), flat indices into the output's spatial grid.
        output_sizes: The output's spatial sizes.
        to_float: What the elements of ``x`` stand for; only those in a patch are asked for.

    Returns:
        (groups, p, C / groups · ∏ kernel), padding as zeros, in the order of the weight's flattened axes 1….
    """
    channels, spatial = x.shape[0], x.shape[1:]
    coordinates = np.unravel_index(positions, tuple(output_sizes))
    kernel_size = math.prod(geometry.kernel)
    flat_indices = np.zeros((len(positions), kernel_size), np.int64)
    valid = np.ones((len(positions), kernel_size), bool)
    offsets = np.unravel_index(np.arange(kernel_size), geometry.kernel)
    for axis, size in enumerate(spatial):
        index = (
            coordinates[axis][:, None] * geometry.strides[axis]
            - geometry.pad_begins[axis]
            + offsets[axis][None, :] * geometry.dilations[axis]
        )
        valid &= (index >= 0) & (index < size)
        flat_indices = flat_indices * size + np.clip(index, 0, size - 1)
    patches = to_float(x.reshape(channels, -1)[:, flat_indices])
    if not valid.all():
        patches[:, ~valid] = 0
    grouped = patches.reshape(geometry.groups, channels // geometry.groups, len(positions), kernel_size)
    return grouped.transpose(0, 2, 1, 3).reshape(geometry.groups, len(positions), -1)


def compute_pad_begins(
    auto_pad: str, pads: Sequence[int], spatial: Sequence[int], output_sizes: Sequence[int], geometry: PatchGeometry
) -> tuple[int, ...]:
    """The padding before each axis, whatever way the node spells it."""
    rank = len(spatial)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        paddings = []
        for axis in range(rank):
            kernel_extent = (geometry.kernel[axis] - 1) * geometry.dilations[axis] + 1
            total_padding = max(0, (output_sizes[axis] - 1) * geometry.strides[axis] + kernel_extent - spatial[axis])
            paddings.append(total_padding // 2 if auto_pad == "SAME_UPPER" else total_padding - total_padding // 2)
        return tuple(paddings)
    return tuple(pads[:rank]) if pads and auto_pad in ("", "NOTSET") else (0,) * rank
