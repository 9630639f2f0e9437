"""The rows that a layer multiplies: its input unfolded at sampled output positions; arrays in, arrays out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """The geometry of a convolution over n spatial axes (ONNX Conv's attributes).

    Attributes:
        kernel: Size per axis.
        strides: Step per axis.
        dilations: Distance of taps per axis.
        begins: Padding before the first element, per axis.
        groups: Channel groups.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    groups: int = 1


def unfold(
    x: np.ndarray,
    window: Window,
    positions: np.ndarray,
    outputs: Sequence[int],
    floats: Callable[[np.ndarray], np.ndarray] = lambda some: some,
) -> np.ndarray:
    """Patches of one image.

    Args:
        x: (C, *spatial).
        window: The convolution.
        positions: int64 (p,), flat indices into the output's spatial grid.
        outputs: The output's spatial sizes.
        floats: What the elements of ``x`` stand for; only those in a patch are asked for.

    Returns:
        (groups, p, C / groups · ∏ kernel), padding as zeros, in the order of the weight's flattened axes 1….
    """
    channels, spatial = x.shape[0], x.shape[1:]
    where = np.unravel_index(positions, tuple(outputs))
    taps = math.prod(window.kernel)
    flat = np.zeros((len(positions), taps), np.int64)
    valid = np.ones((len(positions), taps), bool)
    offsets = np.unravel_index(np.arange(taps), window.kernel)
    for axis, size in enumerate(spatial):
        index = (
            where[axis][:, None] * window.strides[axis]
            - window.begins[axis]
            + offsets[axis][None, :] * window.dilations[axis]
        )
        valid &= (index >= 0) & (index < size)
        flat = flat * size + np.clip(index, 0, size - 1)
    found = floats(x.reshape(channels, -1)[:, flat])
    if not valid.all():
        found[:, ~valid] = 0
    grouped = found.reshape(window.groups, channels // window.groups, len(positions), taps)
    return grouped.transpose(0, 2, 1, 3).reshape(window.groups, len(positions), -1)


def begins(
    auto_pad: str, pads: Sequence[int], spatial: Sequence[int], outputs: Sequence[int], window: Window
) -> tuple[int, ...]:
    """The padding before each axis, whatever way the node spells it."""
    rank = len(spatial)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for axis in range(rank):
            reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1
            total = max(0, (outputs[axis] - 1) * window.strides[axis] + reach - spatial[axis])
            found.append(total // 2 if auto_pad == "SAME_UPPER" else total - total // 2)
        return tuple(found)
    return tuple(pads[:rank]) if pads and auto_pad in ("", "NOTSET") else (0,) * rank
