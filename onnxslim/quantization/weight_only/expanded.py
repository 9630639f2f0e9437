"""int8 weights that are floats again once the model is loaded: the file of an int8 model, the speed of a float one.

Codes and a scale for each output become the weight through a Cast and a Mul of constants, which the runtime computes while
it loads the model (a DequantizeLinear it would compute at every run). Where a few weights of an output are so much larger
than the rest that one scale leaves those a handful of codes, the scales go along another axis, or along blocks of the
output's own weights; and where that does not help either, the weight stays float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import to_decibels
from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight
from onnxslim.quantization.weight_only.weights import OVERHEAD_BYTES, WeightTensor, find_weight_tensors

#: The mean over outputs of the rounding error relative to each one's weights, in dB: above the first, nothing else is
#: tried; what stays below the second is not stored in int8. Weights like a bell curve come to 42.
GOOD_SQNR_DB, MIN_SQNR_DB = 34.0, 12.0
#: A weight counts for at most so many times its output's median magnitude: what a few outliers weigh is no comfort to the
#: rest, which may well read the larger inputs. The median is of so many weights.
_MAX_TO_MEDIAN, _MEDIAN_SAMPLE = 6.0, 512
#: Decibels that other scales must win over those of the outputs.
_MIN_GAIN_DB = 3.0
#: Weights a block, the largest first.
_BLOCK_SIZES = (128, 64, 32, 16)


@dataclass(frozen=True)
class ExpandedWeight:
    """A weight in codes.

    Attributes:
        codes: int8, of the weight's shape, or (…, blocks, block) where scales go along blocks.
        scales: float32, as they broadcast against the codes.
        sqnr_db: What the outputs keep (see :data:`GOOD_SQNR_DB`).
    """

    codes: np.ndarray
    scales: np.ndarray
    sqnr_db: float


def write_expanded_weights(model: ir.Model, exclude: Sequence[str] = ()) -> StepReport:
    """Every weight of ``model`` that layers read in int8, expanded at load, in place, as far as that makes it smaller.

    Args:
        model: Nodes named.
        exclude: Regular expressions; a weight stays float when a reader's whole name matches.
    """
    report, editor = StepReport("weights"), GraphEditor(model.graph)
    tensors, report.skipped = find_weight_tensors(model, exclude)
    for weight_tensor in tensors:
        quantized = quantize_expanded(weight_tensor)
        if quantized.sqnr_db < MIN_SQNR_DB:
            reason = f"a few of its weights are so large that the rest would keep {quantized.sqnr_db:.0f} dB in int8"
            report.skip(str(weight_tensor.value.name), reason)
            continue
        _write(editor, weight_tensor, quantized)
        report.count("weights in int8, expanded at load")
    return report


def quantize_expanded(weight_tensor: WeightTensor) -> ExpandedWeight:
    """The weight with a scale for each output where that is good enough, else with the scales that lose least."""
    best = _quantize_along(weight_tensor, weight_tensor.scale_axes)
    if best.sqnr_db >= GOOD_SQNR_DB:
        return best
    for candidate in _try_other_scales(weight_tensor):
        if candidate.sqnr_db > best.sqnr_db + _MIN_GAIN_DB:
            best = candidate
    return best


def _try_other_scales(weight_tensor: WeightTensor) -> Iterator[ExpandedWeight]:
    for axes in weight_tensor.other_axes:
        yield _quantize_along(weight_tensor, axes)
    array = weight_tensor.array
    for size in _BLOCK_SIZES:
        # the last axis alone, so that codes need no more than a Reshape
        scale_bytes = 4 * array.size // size
        if array.shape[-1] % size or array.size + scale_bytes + 2 * OVERHEAD_BYTES > weight_tensor.nbytes / 2:
            continue
        blocks = array.reshape(*array.shape[:-1], -1, size)
        flat = blocks.reshape(-1, size)
        scales = compute_weight_scales(flat, 0)
        codes = quantize_weight(flat, scales, 0)
        error = np.square(codes * scales[:, None] - flat, dtype=np.float64).reshape(array.shape)
        sqnr_db = _measure(array, error, weight_tensor.scale_axes)
        yield ExpandedWeight(codes.reshape(blocks.shape), scales.reshape(*blocks.shape[:-1], 1), sqnr_db)


def _quantize_along(weight_tensor: WeightTensor, axes: tuple[int, ...]) -> ExpandedWeight:
    turned = replace(weight_tensor, scale_axes=axes)
    flat, restore_shape = turned.split_by_scale()
    scales = compute_weight_scales(flat, 0)
    codes = quantize_weight(flat, scales, 0)
    error = restore_shape(np.square(codes * scales[:, None] - flat, dtype=np.float64))
    sqnr_db = _measure(weight_tensor.array, error, weight_tensor.scale_axes)
    return ExpandedWeight(restore_shape(codes), scales.reshape(turned.scale_shape), sqnr_db)


def _measure(array: np.ndarray, error: np.ndarray, output_axes: Sequence[int]) -> float:
    """The mean over ``output_axes`` of squared error to squared weights, outliers clipped, in dB; outputs that are all zero
    have none.
    """
    summed = tuple(axis for axis in range(array.ndim) if axis not in output_axes)
    magnitudes = np.abs(array).transpose(*output_axes, *summed).reshape(math.prod(array.shape[a] for a in output_axes), -1)
    limit = _MAX_TO_MEDIAN * _find_median_magnitude(magnitudes)
    energy = np.square(np.minimum(magnitudes, limit[:, None]), dtype=np.float64).sum(axis=1)
    ratios = error.sum(axis=summed).reshape(-1)[energy > 0] / energy[energy > 0]
    return -to_decibels(max(float(ratios.mean()), 1e-30)) if ratios.size else np.inf


def _find_median_magnitude(magnitudes: np.ndarray) -> np.ndarray:
    """The median over each row's weights that are not zero, (rows,); of some of them where there are many."""
    ordered = np.sort(magnitudes[:, :: -(-magnitudes.shape[1] // _MEDIAN_SAMPLE)], axis=1)
    zeros = (ordered == 0).sum(axis=1)
    middle = np.minimum((zeros + ordered.shape[1]) // 2, ordered.shape[1] - 1)
    median: np.ndarray = np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
    return np.where(median > 0, median, magnitudes.max(axis=1))


def _write(editor: GraphEditor, weight_tensor: WeightTensor, quantized: ExpandedWeight) -> None:
    stem, first, shape = str(weight_tensor.value.name), editor.graph[0], quantized.codes.shape
    codes = editor.add_initializer(f"{stem}_quantized", quantized.codes)
    float_codes = editor.add_cast(codes, ir.DataType.FLOAT, before=first, name=f"{stem}_Cast")
    scales = editor.add_initializer(f"{stem}_scale", quantized.scales)
    last = editor.add_node(
        "Mul", float_codes, scales, before=first, name=f"{stem}_Mul", dtype=ir.DataType.FLOAT, shape=ir.Shape(shape)
    )
    if shape != weight_tensor.array.shape:
        sizes = editor.add_initializer(f"{stem}_shape", np.array(weight_tensor.array.shape, np.int64))
        last = editor.add_node(
            "Reshape", last, sizes, before=first, name=f"{stem}_Reshape", dtype=ir.DataType.FLOAT,
            shape=ir.Shape(weight_tensor.array.shape),
        )  # fmt: skip
    weight_tensor.replace(editor, last, first)
