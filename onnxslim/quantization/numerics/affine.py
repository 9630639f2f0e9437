"""Scales, zero points and codes: the arithmetic of ONNX's QuantizeLinear, arrays in and arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim.graph.stored_weights.grids import MIN_SCALE, ScaleLayout, find_exact_scales
from onnxslim.quantization.numerics import saturation

#: An int32 bias in units of input scale × weight scale must stay below this, or the kernel's accumulator wraps.
BIAS_LIMIT = 2.0**30
#: Codes of weights lie in [−TOP, TOP].
WEIGHT_QMAX = 127


@dataclass(frozen=True)
class Encoding:
    """Per-tensor parameters of an activation.

    Attributes:
        scale: float32 scalar, positive.
        zero_point: uint8, or int8 when symmetric.
    """

    scale: np.float32
    zero_point: np.uint8 | np.int8

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """Round half to even, shift and saturate, as the operator does; dtype of the zero point. NaN, of which the operator
        says nothing, becomes the least code.
        """
        limits = np.iinfo(self.zero_point.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            codes = np.rint(x / self.scale) + float(self.zero_point)
        return np.fmin(np.fmax(codes, limits.min), limits.max).astype(self.zero_point.dtype)

    def dequantize(self, codes: np.ndarray) -> np.ndarray:
        """float32 values of ``codes``."""
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * self.scale


def compute_activation_encoding(low: float, high: float, *, symmetric: bool = False) -> Encoding:
    """Parameters that cover [low, high] and represent zero exactly.

    Args:
        low: Smallest value; anything above 0 counts as 0, since padding and Relu produce zeros.
        high: Largest value; anything below 0 counts as 0.
        symmetric: int8 with zero point 0, instead of uint8.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if symmetric:
        return Encoding(_compute_scale(max(-low, high), 127.0), np.int8(0))
    scale = _compute_scale(high - low, 255.0)
    zero_point = np.uint8(np.clip(np.rint(-low / float(scale)), 0, 255))
    if zero_point == 0 and high / 255.0 >= MIN_SCALE and float(scale) * 255.0 > high:
        # 255 · scale must not pass a Clip's bound by a rounding error, or the runtime keeps the Clip
        scale = np.nextafter(scale, np.float32(0))
    return Encoding(scale, zero_point)


def _compute_scale(span: float, steps: float) -> np.float32:
    scale = np.float32(span / steps)
    return scale if scale >= MIN_SCALE else np.float32(1.0 / steps)


def compute_weight_scales(
    weight: np.ndarray,
    axis: int,
    *,
    bias: np.ndarray | None = None,
    input_scale: float | None = None,
    reduce_range: bool = False,
) -> np.ndarray:
    """Symmetric scales of ``weight`` per index of ``axis``: float32 of shape (weight.shape[axis],).

    Args:
        weight: float array.
        axis: The output axis.
        bias: float (weight.shape[axis],); together with ``input_scale`` it bounds the scales from below, so that
            the int32 bias cannot overflow (a channel with tiny weights and a real bias otherwise wraps around).
        input_scale: The activation's scale.
        reduce_range: Leave room for sums of two products in 16 bits (``pairs.py``).
    """
    reduced_axes = tuple(i for i in range(weight.ndim) if i != axis)
    peak = np.abs(weight).max(axis=reduced_axes, initial=0.0).astype(np.float64)
    scales = peak / WEIGHT_QMAX
    if reduce_range:
        scales = saturation.widen_scales(weight, axis, scales)
    else:  # weights that were integers before are so again, without a loss
        exact = find_exact_scales(ScaleLayout(axis).to_rows(weight), WEIGHT_QMAX)
        scales = np.where(exact > 0, exact, scales)
    if bias is not None and input_scale is not None:
        scales = np.maximum(scales, np.abs(bias) / (input_scale * BIAS_LIMIT))
    return np.where(scales >= MIN_SCALE, scales, 1.0 / WEIGHT_QMAX).astype(np.float32)


def quantize_weight(weight: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """int8 codes of ``weight``, nearest, symmetric (−128 is not used)."""
    codes: np.ndarray = np.rint(weight / broadcast_along(scales, axis, weight.ndim))
    return codes.clip(-WEIGHT_QMAX, WEIGHT_QMAX).astype(np.int8)


def broadcast_along(vector: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """``vector`` (n,) so that it broadcasts along ``axis`` of an array with ``rank`` axes."""
    return vector.reshape([-1 if index == axis else 1 for index in range(rank)])
