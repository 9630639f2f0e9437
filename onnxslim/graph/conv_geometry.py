"""How a Conv or ConvTranspose node reads its input: its attributes as the geometry of one plain convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.im2col import ConvGeometry, insert_zeros


def prepare_input(node: ir.Node, x: np.ndarray) -> tuple[np.ndarray, ConvGeometry]:
    """What a Conv or ConvTranspose reads of ``x`` (n, c, *spatial), with zeros in it where it is transposed, and how."""
    if node.op_type == "Conv":
        return x, _read_geometry(node, x.shape[2:])
    geometry, strides = _read_transposed_geometry(node)
    return insert_zeros(x, strides), geometry


def is_plain_transpose(node: ir.Node) -> bool:
    """Whether a ConvTranspose is a plain convolution over its input with zeros in it: one group, no output cropped."""
    if node.attributes.get_int("group", 1) != 1 or "output_shape" in node.attributes:
        return False
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    geometry, _ = _read_transposed_geometry(node)
    return min((*geometry.begins, *geometry.ends)) >= 0


def _get_kernel_shape(node: ir.Node) -> tuple[int, ...]:
    weight = get_const_array(node.inputs[1])
    return () if weight is None else tuple(int(k) for k in weight.shape[2:])


def _read_geometry(node: ir.Node, spatial: Sequence[int]) -> ConvGeometry:
    """The geometry of a Conv on an input of sizes ``spatial``, automatic padding worked out."""
    kernel = _get_kernel_shape(node)
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


def _read_transposed_geometry(node: ir.Node) -> tuple[ConvGeometry, Sequence[int]]:
    """The geometry over the stuffed input, and the steps at which the elements lie in it."""
    kernel = _get_kernel_shape(node)
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
