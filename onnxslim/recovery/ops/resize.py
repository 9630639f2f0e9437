"""Resampling: every axis on its own, as a matrix of weights (out, in) that is built from the node's rules."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction, resolve_axes, to_ints


def _find_source_coordinates(call: Call, size: int, scale: float, output_size: int, roi: tuple[float, float]) -> np.ndarray:
    """Where in the input, as a real number, each output element lies (the operator's coordinate transformations)."""
    x: np.ndarray = np.arange(output_size, dtype=np.float64)
    mode = call.get("coordinate_transformation_mode", "half_pixel") if call.version >= 11 else "asymmetric"
    exact = scale * size
    if mode == "asymmetric":
        return x / scale
    if mode == "align_corners":
        return x * 0 if exact == 1 else x * (size - 1) / (exact - 1)
    if mode == "tf_crop_and_resize":
        begin, end = roi
        if exact == 1:
            return x * 0 + (begin + end) * (size - 1) / 2
        return begin * (size - 1) + x * (end - begin) * (size - 1) / (exact - 1)
    if mode == "pytorch_half_pixel" and exact == 1:
        return x * 0 - 0.5
    half: np.ndarray = (x + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        half += size / 2 * (1 - output_size / exact)
    return half


def _cubic_kernel(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel (1981)."""
    near, far = ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    values: np.ndarray = np.where(t <= 1, near, np.where(t < 2, far, 0))
    return values


def _make_resampling_matrix(
    call: Call, size: int, scale: float, outputs: int, roi: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """The matrix, float32 (outputs, size), that resamples one axis."""
    coordinates = _find_source_coordinates(call, size, scale, outputs, roi)
    matrix = np.zeros((outputs, size))
    rows = np.arange(outputs)
    mode = call.get("mode", "nearest")
    if mode == "nearest":
        matrix[rows, np.clip(_round_coordinates(call, coordinates), 0, size - 1)] = 1
        return matrix.astype(np.float32)
    reach = 2 if mode == "cubic" else 1
    shrink = min(scale, 1.0) if call.get("antialias", 0) else 1.0
    base = np.floor(coordinates).astype(int)
    taps = range(math.floor(-reach / shrink), math.ceil(reach / shrink) + 2)
    distances = np.stack([np.abs(base + tap - coordinates) * shrink for tap in taps], 1)
    values = _cubic_kernel(distances, call.get("cubic_coeff_a", -0.75)) if mode == "cubic" else np.maximum(1 - distances, 0)
    inside = np.stack([(base + tap >= 0) & (base + tap < size) for tap in taps], 1)
    if call.get("exclude_outside", 0):
        values = np.where(inside, values, 0)
    values /= values.sum(1, keepdims=True)
    for column, tap in enumerate(taps):
        np.add.at(matrix, (rows, np.clip(base + tap, 0, size - 1)), values[:, column])
    return matrix.astype(np.float32)


def _round_coordinates(call: Call, coordinates: np.ndarray) -> np.ndarray:
    mode = call.get("nearest_mode", "round_prefer_floor") if call.version >= 11 else "floor"
    if mode == "round_prefer_floor":
        return np.ceil(coordinates - 0.5).astype(int)
    if mode == "round_prefer_ceil":
        return np.floor(coordinates + 0.5).astype(int)
    nearest: np.ndarray = np.floor(coordinates) if mode == "floor" else np.ceil(coordinates)
    return nearest.astype(int)


def _resample_axis(x: Tensor, axis: int, matrix: np.ndarray) -> Tensor:
    if (np.count_nonzero(matrix, axis=1) == 1).all() and (matrix.max(1) == 1).all():
        return x.index_select(axis, torch.from_numpy(matrix.argmax(1)))
    moved = x.movedim(axis, -1).to(x.dtype if x.is_floating_point() else torch.float32)
    return (moved @ torch.from_numpy(matrix).to(moved.dtype).T).movedim(-1, axis).to(x.dtype)


def resize(
    call: Call, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
) -> Tensor:
    """Resampled by ``scales`` or to ``sizes``, along all axes or those named."""
    if call.version < 11:
        roi, scales = None, roi
    axes = resolve_axes(call, None, x.dim()) or list(range(x.dim()))
    factors, outputs = _resolve_output_sizes(call, [x.shape[a] for a in axes], scales, sizes)
    roi_bounds = [0.0] * len(axes) + [1.0] * len(axes) if roi is None or not roi.numel() else roi.tolist()
    outside = None
    for i, axis in enumerate(axes):
        axis_roi = (roi_bounds[i], roi_bounds[i + len(axes)])
        if call.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            coordinates = _find_source_coordinates(call, x.shape[axis], factors[i], outputs[i], axis_roi)
            beyond = torch.from_numpy((coordinates < 0) | (coordinates > x.shape[axis] - 1))
            beyond = beyond.reshape([-1 if a == axis else 1 for a in range(x.dim())])
            outside = beyond if outside is None else outside | beyond
        elif outputs[i] == x.shape[axis] and factors[i] == 1:
            continue
        x = _resample_axis(x, axis, _make_resampling_matrix(call, x.shape[axis], factors[i], outputs[i], axis_roi))
    if outside is None:
        return x
    return torch.where(outside, torch.tensor(call.get("extrapolation_value", 0.0), dtype=x.dtype), x)


def _resolve_output_sizes(
    call: Call, input_sizes: Sequence[int], scales: Tensor | None, sizes: Tensor | None
) -> tuple[list[float], list[int]]:
    """(scale, output size) of each axis."""
    if sizes is None or not sizes.numel():
        assert scales is not None
        factors = [float(s) for s in scales.tolist()]
        return factors, [math.floor(n * f) for n, f in zip(input_sizes, factors, strict=True)]
    output_sizes = to_ints(sizes)
    factors = [w / n for w, n in zip(output_sizes, input_sizes, strict=True)]
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        common = min(factors) if policy == "not_larger" else max(factors)
        factors = [common] * len(factors)
        output_sizes = [math.floor(n * common + 0.5) for n in input_sizes]
    return factors, output_sizes


def upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Resize's predecessor."""
    return resize(call, x, scales if scales is not None else torch.tensor(call.get("scales")))


def grid_sample(call: Call, x: Tensor, grid: Tensor) -> Tensor:
    """Sampled at the points of a grid, -1 … 1 along each axis."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(call.get("mode", "linear"), call.get("mode", "linear"))
    return functional.grid_sample(x, grid, mode, call.get("padding_mode", "zeros"), bool(call.get("align_corners", 0)))


def affine_grid(call: Call, theta: Tensor, size: Tensor) -> Tensor:
    """The grid of an affine transformation."""
    return functional.affine_grid(theta, to_ints(size), bool(call.get("align_corners", 0)))


OPS: dict[str, OpFunction] = {"AffineGrid": affine_grid, "GridSample": grid_sample, "Resize": resize, "Upsample": upsample}
