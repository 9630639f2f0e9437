"""int8 weights that are floats again once the model is loaded: the file of an int8 model, the speed of a float one.

Codes and a scale for each output become the weight through a Cast and a Mul of constants, which the runtime computes while
it loads the model (a DequantizeLinear it would compute at every run). Where a few weights of an output are so much larger
than the rest that one scale leaves those a handful of codes, the scales go along another axis, inputs have scales beside the
outputs', or blocks of an output's weights have them; and where that does not help either, the weight stays float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import to_decibels
from onnxslim.core.step_report import Skipped, StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.numerics.affine import WEIGHT_QMAX, compute_weight_scales, quantize_weight
from onnxslim.quantization.numerics.sum_rounding import round_keeping_sums
from onnxslim.quantization.weight_only.weights import OVERHEAD_BYTES, WeightTensor, find_weight_tensors

#: What the outputs keep, in dB (:func:`_rate`): above the first, nothing else is tried; what stays below the second is not
#: stored in int8. Weights like a bell curve come to 42.
GOOD_SQNR_DB, MIN_SQNR_DB = 38.0, 20.0
#: Decibels that other scales must win over those of the outputs.
_MIN_GAIN_DB = 3.0
#: Weights a block, the largest first.
_BLOCK_SIZES = (128, 64, 32, 16)
#: A weight counts as typical up to so many times its output's median magnitude: what a few outliers weigh is no comfort to
#: the rest, which may well read the larger inputs. The median is of so many weights, and the rest may keep so much less.
_MAX_TO_MEDIAN, _MEDIAN_SAMPLE, _TYPICAL_ALLOWANCE_DB = 6.0, 512, 8.0
#: Weights below this share of their output's largest are as good as zero: regularised nets are full of them.
_ZERO_SHARE = 1e-5
#: Outputs with a smaller share of the mean output's energy than this say nothing.
_MIN_ENERGY_SHARE = 0.01
#: The share of the weights' bytes that the smallest ones together may keep.
_MAX_LEFT_SHARE = 0.01
#: Below, an output or an input is not scaled.
_MIN_MAGNITUDE = 1e-30
#: Turns of scaling inputs and outputs in which both come to rest.
_BALANCING_TURNS = 4


@dataclass(frozen=True)
class ExpandedWeight:
    """A weight in codes.

    Attributes:
        codes: int8, of the weight's shape, or (…, blocks, block) where scales go along blocks.
        scales: float32, one array or two that are multiplied, as they broadcast against the codes.
        sqnr_db: What the outputs keep (see :data:`GOOD_SQNR_DB`).
    """

    codes: np.ndarray
    scales: tuple[np.ndarray, ...]
    sqnr_db: float

    def expand(self) -> np.ndarray:
        """What the runtime makes of it while it loads the model, float32, in the shape of the codes."""
        return np.asarray(math.prod(self.scales, start=self.codes.astype(np.float32)), np.float32)


def write_expanded_weights(model: ir.Model, exclude: Sequence[str] = ()) -> StepReport:
    """Every weight of ``model`` that layers read in int8, expanded at load, in place, as far as that makes it smaller.

    Args:
        model: Nodes named.
        exclude: Regular expressions; a weight stays float when a reader's whole name matches.
    """
    report, editor = StepReport("weights"), GraphEditor(model.graph)
    expanded_weights, report.skipped = find_expanded_weights(model, exclude)
    for weight_tensor, quantized in expanded_weights:
        write_expanded_weight(editor, weight_tensor, quantized)
        report.count("weights in int8, expanded at load")
    return report


def find_expanded_weights(
    model: ir.Model, exclude: Sequence[str] = ()
) -> tuple[list[tuple[WeightTensor, ExpandedWeight]], list[Skipped]]:
    """The weights that :func:`write_expanded_weights` would write and their codes, and why others stay float."""
    tensors, skipped = find_weight_tensors(model, exclude)
    smallest, found = _find_smallest(tensors), []
    for weight_tensor in tensors:
        name = str(weight_tensor.value.name)
        if weight_tensor in smallest:
            skipped.append(Skipped(name, "it would save next to nothing of the file"))
            continue
        quantized = quantize_expanded(weight_tensor)
        if quantized.sqnr_db < MIN_SQNR_DB:
            reason = f"a few of its weights are so large that the rest would keep {quantized.sqnr_db:.0f} dB in int8"
            skipped.append(Skipped(name, reason))
            continue
        found.append((weight_tensor, quantized))
    return found, skipped


def _find_smallest(tensors: Sequence[WeightTensor]) -> set[WeightTensor]:
    """The smallest weights, which together hold next to nothing; a first layer is often one of them, and what it loses all
    others see.
    """
    left = _MAX_LEFT_SHARE * sum(weight_tensor.nbytes for weight_tensor in tensors)
    smallest = set()
    for weight_tensor in sorted(tensors, key=lambda found: found.nbytes):
        left -= weight_tensor.nbytes
        if left < 0:
            break
        smallest.add(weight_tensor)
    return smallest


def quantize_expanded(weight_tensor: WeightTensor) -> ExpandedWeight:
    """The weight with a scale for each output where that is good enough, else with the first scales that are, else with
    those that lose least.
    """
    best = _quantize_along(weight_tensor, weight_tensor.scale_axes)
    others = _try_other_scales(weight_tensor)
    while best.sqnr_db < GOOD_SQNR_DB and (candidate := next(others, None)) is not None:
        if candidate.sqnr_db > best.sqnr_db + _MIN_GAIN_DB:
            best = candidate
    return best


def _try_other_scales(weight_tensor: WeightTensor) -> Iterator[ExpandedWeight]:
    for axes in weight_tensor.other_axes:
        yield _quantize_along(weight_tensor, axes)
    array, output_axes = weight_tensor.array, weight_tensor.scale_axes
    for axis in range(array.ndim):
        if axis not in output_axes and array.shape[axis] > 1 and 20 * array.shape[axis] <= array.size:
            yield _quantize_rank_one(weight_tensor, axis)
    for size in _BLOCK_SIZES:
        # the last axis alone, so that codes need no more than a Reshape
        scale_bytes = 4 * array.size // size
        if array.shape[-1] % size or array.size + scale_bytes + 2 * OVERHEAD_BYTES > weight_tensor.nbytes / 2:
            continue
        blocks = array.reshape(*array.shape[:-1], -1, size)
        flat = blocks.reshape(-1, size)
        scales = compute_weight_scales(flat, 0)
        codes = quantize_weight(flat, scales, 0)
        error = np.square(codes * scales[:, None] - flat).reshape(array.shape)
        stored_scales = scales.reshape(*blocks.shape[:-1], 1)
        yield ExpandedWeight(codes.reshape(blocks.shape), (stored_scales,), _rate(array, error, output_axes))


def _quantize_along(weight_tensor: WeightTensor, axes: tuple[int, ...]) -> ExpandedWeight:
    turned = replace(weight_tensor, scale_axes=axes)
    flat, restore_shape = turned.split_by_scale()
    scales = compute_weight_scales(flat, 0)
    # the taps of one kernel lie next to each other, behind the axes of outputs and inputs
    taps = math.prod(turned.array.shape[2:]) if turned.array.ndim > 2 and axes == (0,) else 1
    codes = round_keeping_sums((flat / scales[:, None]).reshape(-1, taps), WEIGHT_QMAX).reshape(flat.shape)
    error = restore_shape(np.square(codes * scales[:, None] - flat))
    sqnr_db = _rate(weight_tensor.array, error, weight_tensor.scale_axes)
    return ExpandedWeight(restore_shape(codes.astype(np.int8)), (scales.reshape(turned.scale_shape),), sqnr_db)


def _quantize_rank_one(weight_tensor: WeightTensor, axis: int) -> ExpandedWeight:
    """A scale for each output times one for each index of ``axis``: an input whose weights are all large has its own."""
    return max(
        (_quantize_balanced(weight_tensor, axis, measure) for measure in (_find_peaks, _find_magnitudes)),
        key=lambda found: found.sqnr_db,
    )


def _quantize_balanced(
    weight_tensor: WeightTensor, axis: int, measure: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
) -> ExpandedWeight:
    array = weight_tensor.array
    others = tuple(other for other in range(array.ndim) if other != axis)
    shared = tuple(other for other in range(array.ndim) if other not in weight_tensor.scale_axes)
    input_scales = np.ones([size if other == axis else 1 for other, size in enumerate(array.shape)], np.float32)
    for _ in range(_BALANCING_TURNS):
        input_scales = measure(array / measure(array / input_scales, shared), others)
    balanced = _quantize_along(replace(weight_tensor, array=array / input_scales), weight_tensor.scale_axes)
    error = np.square(balanced.codes * balanced.scales[0] * input_scales - array)
    scales = (balanced.scales[0], input_scales)
    return ExpandedWeight(balanced.codes, scales, _rate(array, error, weight_tensor.scale_axes))


def _find_peaks(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The largest magnitude over ``axes``, kept as axes of size 1; of zeros alone, 1."""
    peaks = np.abs(array).max(axis=axes, keepdims=True)
    return np.where(peaks > _MIN_MAGNITUDE, peaks, 1.0).astype(np.float32)


def _find_magnitudes(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The same of the root mean square, which few outliers do not turn."""
    roots = np.sqrt(np.square(array).mean(axis=axes, keepdims=True, dtype=np.float64))
    return np.where(roots > _MIN_MAGNITUDE, roots, 1.0).astype(np.float32)


def _rate(array: np.ndarray, error: np.ndarray, output_axes: Sequence[int]) -> float:
    """What the outputs along ``output_axes`` keep of their weights, in dB.

    That is the mean over outputs of squared error to squared weights, or what the typical weights of half of the outputs
    keep (with an allowance), whichever is worse. Outputs that are next to nothing have no say.
    """
    summed = tuple(axis for axis in range(array.ndim) if axis not in output_axes)
    rows = math.prod(array.shape[axis] for axis in output_axes)
    magnitudes, errors = (values.transpose(*output_axes, *summed).reshape(rows, -1) for values in (np.abs(array), error))
    energy = np.square(magnitudes).sum(axis=1, dtype=np.float64)
    counted = energy > _MIN_ENERGY_SHARE * energy.mean()
    if not counted.any():
        return math.inf
    magnitudes, energy, row_errors = magnitudes[counted], energy[counted], errors.sum(axis=1, dtype=np.float64)[counted]
    limit = _MAX_TO_MEDIAN * _find_median_magnitude(magnitudes)
    typical_energy = np.square(np.minimum(magnitudes, limit[:, None])).sum(axis=1, dtype=np.float64)
    mean, typical = float((row_errors / energy).mean()), float(np.median(row_errors / typical_energy))
    return min(-to_decibels(max(mean, 1e-30)), -to_decibels(max(typical, 1e-30)) + _TYPICAL_ALLOWANCE_DB)


def _find_median_magnitude(magnitudes: np.ndarray) -> np.ndarray:
    """The median over each row's weights, (rows,), those left out that are as good as zero; of some where there are many."""
    ordered = np.sort(magnitudes[:, :: -(-magnitudes.shape[1] // _MEDIAN_SAMPLE)], axis=1)
    zeros = (ordered <= _ZERO_SHARE * ordered[:, -1:]).sum(axis=1)
    middle = np.minimum((zeros + ordered.shape[1]) // 2, ordered.shape[1] - 1)
    median: np.ndarray = np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
    return np.where(median > 0, median, magnitudes.max(axis=1))


def write_expanded_weight(editor: GraphEditor, weight_tensor: WeightTensor, quantized: ExpandedWeight) -> None:
    """Let whoever reads the weight read what ``quantized`` stands for."""
    stem, first, shape = str(weight_tensor.value.name), editor.graph[0], quantized.codes.shape
    codes = editor.add_initializer(f"{stem}_quantized", quantized.codes)
    float_codes = editor.add_cast(codes, ir.DataType.FLOAT, before=first, name=f"{stem}_Cast")
    last = float_codes
    for array in quantized.scales:
        scales = editor.add_initializer(f"{stem}_scale", array)
        last = editor.add_node(
            "Mul", last, scales, before=first, name=f"{stem}_Mul", dtype=ir.DataType.FLOAT, shape=ir.Shape(shape)
        )
    if shape != weight_tensor.array.shape:
        sizes = editor.add_initializer(f"{stem}_shape", np.array(weight_tensor.array.shape, np.int64))
        last = editor.add_node(
            "Reshape", last, sizes, before=first, name=f"{stem}_Reshape", dtype=ir.DataType.FLOAT,
            shape=ir.Shape(weight_tensor.array.shape),
        )  # fmt: skip
    weight_tensor.replace(editor, last, first)
