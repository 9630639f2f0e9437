"""How convolutions read their inputs: windows, and the patches that they cut out.

A transposed convolution is a plain one with the kernel turned around, over its input with zeros put between the elements;
seen so, both are the same rows to least squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array

#: Ops that read windows.
CONV_OPS = frozenset({"Conv", "ConvTranspose"})


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
        (n, p, c, prod(kernel)), the dtype of ``x``.
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


def prepare_input(node: ir.Node, x: np.ndarray) -> tuple[np.ndarray, ConvGeometry]:
    """What a Conv or ConvTranspose reads of ``x`` (n, c, *spatial), with zeros in it where it is transposed, and how."""
    if node.op_type == "Conv":
        return x, _conv_geometry(node, x.shape[2:])
    geometry, strides = _transposed_geometry(node)
    sizes = [(size - 1) * stride + 1 for size, stride in zip(x.shape[2:], strides, strict=True)]
    stuffed = np.zeros((*x.shape[:2], *sizes), x.dtype)
    stuffed[(slice(None), slice(None), *(slice(None, None, stride) for stride in strides))] = x
    return stuffed, geometry


def mirror_kernel(weight: np.ndarray) -> np.ndarray:
    """The weight (c, m, *kernel) of a ConvTranspose as the Conv's that it amounts to, (m, c, *kernel); or back."""
    return np.flip(weight, axis=tuple(range(2, weight.ndim))).swapaxes(0, 1)


def can_zero_stuff(node: ir.Node) -> bool:
    """Whether a ConvTranspose is such a convolution: its padding is given, and does not crop."""
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    geometry, _ = _transposed_geometry(node)
    return min((*geometry.begins, *geometry.ends)) >= 0


def get_kernel_shape(node: ir.Node) -> tuple[int, ...]:
    """Sizes of the kernel of a node with a constant weight."""
    weight = get_const_array(node.inputs[1])
    return () if weight is None else tuple(int(k) for k in weight.shape[2:])


def _conv_geometry(node: ir.Node, spatial: Sequence[int]) -> ConvGeometry:
    """The geometry of a Conv on an input of sizes ``spatial``, automatic padding worked out."""
    kernel = get_kernel_shape(node)
    ones = [1] * len(kernel)
    strides = tuple(node.attributes.get_ints("strides", ones))
    dilations = tuple(node.attributes.get_ints("dilations", ones))
    pads = node.attributes.get_ints("pads", [0] * (2 * len(kernel)))
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            for size, k, s, d in zip(spatial, kernel, strides, dilations, strict=True)
        ]
        less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = less + more if auto == "SAME_UPPER" else more + less
    elif auto == "VALID":
        pads = [0] * (2 * len(kernel))
    return ConvGeometry(kernel, strides, dilations, tuple(pads[: len(kernel)]), tuple(pads[len(kernel) :]))


def _transposed_geometry(node: ir.Node) -> tuple[ConvGeometry, Sequence[int]]:
    """The window over the stuffed input, and the steps at which the elements lie in it."""
    kernel = get_kernel_shape(node)
    rank = len(kernel)
    dilations = node.attributes.get_ints("dilations", [1] * rank)
    pads = node.attributes.get_ints("pads", [0] * 2 * rank)
    if node.attributes.get_string("auto_pad", "NOTSET") == "VALID":
        pads = [0] * 2 * rank
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    begins = tuple(r - p for r, p in zip(reach, pads[:rank], strict=True))
    output_padding = node.attributes.get_ints("output_padding", [0] * rank)
    ends = tuple(r - p + m for r, p, m in zip(reach, pads[rank:], output_padding, strict=True))
    geometry = ConvGeometry(kernel, (1,) * rank, tuple(dilations), begins, ends)
    return geometry, node.attributes.get_ints("strides", [1] * rank)
