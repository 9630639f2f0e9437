"""Weights and biases corrected layer by layer, each with everything before it already quantised.

For every weighted int8 layer, in order, in one replay of the network: rows of its quantised input and the float model's
output at the same places are sampled, and the bias is set so that the typical output behind the activation is right
(Nagel et al., Data-free quantization, 2019). Where rounding the weights adds a good part of the layer's error, or an output
has few inputs, they are rounded with error feedback for those inputs instead (Frantar et al., GPTQ, 2022). What comes out
is the same graph with other numbers in it. Of a plan that leaves activations in float, rounding weights makes all of the
error, so all are rounded so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.core.deadline import Pacer
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.graph.conv_geometry import prepare_input
from onnxslim.graph.im2col import unfold
from onnxslim.graph.layers import LinearLayer
from onnxslim.quantization.calibration.sampled_outputs import SampledOutputs, SamplingRequest, pick_map, sample_outputs
from onnxslim.quantization.numerics import gptq, saturation
from onnxslim.quantization.numerics.affine import WEIGHT_QMAX, compute_weight_scales
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan
from onnxslim.quantization.qdq.insert import QuantizationParams, QuantizedWeights
from onnxslim.quantization.static.layerwise_replay import LayerwiseReplay
from onnxslim.runtime.memory import release_freed_memory
from onnxslim.runtime.session import SessionConfig

#: Rows that a layer is fitted to, spread over the samples: at least so many and at most so many; twice the inputs of an
#: output where that lies between, for error feedback wants more rows than unknowns.
MIN_ROWS, MAX_ROWS = 1024, 2048
#: Error feedback is worth its time where rounding to nearest makes at least this share of the layer's error.
MIN_ROUNDING_SHARE = 0.1
#: Outputs with at most so many inputs are always rounded so, and get the best of several scales.
SCALE_SEARCH_INPUTS = 32
#: With activations in float, outputs with more inputs than there are rows are rounded to nearest: their Hessian is mostly
#: damping, and to factor it takes seconds.
MAX_FEEDBACK_INPUTS = MAX_ROWS


@dataclass(frozen=True)
class LayerCorrection:
    """What correcting one layer did.

    Attributes:
        name: The layer.
        used_error_feedback: Whether its weights were rounded with error feedback.
        error: Relative squared error of its output, means apart, with everything before it quantised.
    """

    name: str
    used_error_feedback: bool
    error: float


def correct_layers(
    model: ir.Model,
    plan: QuantizationPlan,
    qparams: QuantizationParams,
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
    progress: Progress = ignore_progress,
    pacer: Pacer | None = None,
    max_layers: int | None = None,
    target: ir.Model | None = None,
) -> tuple[QuantizationParams, list[LayerCorrection], int | None]:
    """The choices with codes and a bias for every weighted int8 unit of ``plan``, what that did, and after how many of them
    the time was up: layers behind are rounded as they are. None where all were done.

    Args:
        model: The float model that ``plan`` refers to.
        plan: What is int8.
        qparams: The encodings.
        feeds: Single samples, some dozens; the activations of all of them are held as 8-bit codes.
        config: Where to run.
        seed: Of the sampled positions.
        progress: Called after each unit.
        pacer: Tells whether another layer fits.
        max_layers: Stop after so many.
        target: What layers are to compute is taken from this model, of the same tensors, where ``model`` has lost something
            before; ``model`` itself without.
    """
    feeds = list(feeds)
    layers = [unit for unit in plan.units if unit.name in plan.int8 and unit.has_weights]
    # what the layers themselves put out, their biases included, before any activation
    names = {unit.name: str(unit.layer.output.name) for unit in layers}
    row_counts = {unit: np.clip(2 * unit.layer.weight.size // unit.layer.outputs, MIN_ROWS, MAX_ROWS) for unit in layers}
    requests = {
        names[unit.name]: SamplingRequest(unit.op == "Conv", math.ceil(row_counts[unit] / len(feeds))) for unit in layers
    }
    sampled_outputs = sample_outputs(target or model, requests, feeds, config, seed=seed)
    release_freed_memory()
    corrected, corrections = replace(qparams, weights={}), list[LayerCorrection]()
    # later layers must see earlier ones corrected, so the replay reads the very codes that are filled here
    replay = LayerwiseReplay(model, plan, corrected, feeds, config)
    pacer, layer_count = pacer or Pacer(None), 0
    for index, unit in enumerate(plan.units):
        if unit.name in names:
            if layer_count == max_layers or not pacer.fits():
                return corrected, corrections, layer_count
            layer_count += 1
            sampled = sampled_outputs.pop(names[unit.name])
            x = np.concatenate([_collect_input_rows(unit, replay, sample, sampled) for sample in range(len(feeds))], axis=1)
            if x.shape[1]:
                corrected.weights[unit.name], correction = _correct_layer(unit, corrected, x, sampled.get_outputs())
                corrections.append(correction)
        replay.run(unit)
        if index % 4 == 0:
            release_freed_memory()
        progress("correcting", index + 1, len(plan.units))
    return corrected, corrections, None


def _collect_input_rows(unit: FusionGroup, replay: LayerwiseReplay, sample: int, sampled: SampledOutputs) -> np.ndarray:
    """What the quantised layer multiplies at the targets' positions: (groups, p, inputs of an output)."""
    name, positions = str(unit.inputs[0].name), sampled.positions[sample]
    if unit.op != "Conv":
        array = replay.get_activation(name, sample)
        rows = array.reshape(-1, array.shape[-1])[positions]
        return replay.to_float(name, rows)[None]
    x, geometry = prepare_input(unit.anchor, replay.to_float(name, replay.get_activation(name, sample)))
    groups = unit.layer.groups
    if not len(positions):
        return np.zeros((unit.layer.groups, 0, unit.layer.weight.size // unit.layer.outputs), x.dtype)
    patches = unfold(pick_map(x, sample), geometry, positions[None])[0]
    if groups == patches.shape[1]:  # depthwise: numpy adds rows in their order in memory, which is kept
        return np.ascontiguousarray(patches.transpose(0, 2, 1)).transpose(2, 0, 1)
    return np.ascontiguousarray(patches.reshape(len(positions), groups, -1).transpose(1, 0, 2))


def _correct_layer(
    unit: FusionGroup, qparams: QuantizationParams, x: np.ndarray, y: np.ndarray
) -> tuple[QuantizedWeights, LayerCorrection]:
    layer, groups = unit.layer, x.shape[0]
    weight_matrix = layer.output_first.reshape(groups, layer.outputs // groups, -1)
    rows = gptq.make_sampled_rows(x, y.reshape(len(y), groups, -1).transpose(1, 0, 2))
    encoding = qparams.encodings.get(str(unit.inputs[0].name))
    given_bias = layer.bias
    float_bias = np.zeros(weight_matrix.shape[:2]) if given_bias is None else given_bias.reshape(weight_matrix.shape[:2])
    # room for the bias to move without overflowing int32
    bias_bound = 2.0 * np.abs(float_bias).reshape(-1) + np.abs(rows.y_mean).reshape(-1)
    scales = compute_weight_scales(
        layer.weight, layer.output_axis, bias=bias_bound, input_scale=None if encoding is None else float(encoding.scale),
        reduce_range=qparams.reduce_range,
    )  # fmt: skip
    codes, scales, correction = _round_weights(unit, qparams, rows, weight_matrix, scales.reshape(groups, -1))
    bias = None
    if layer.has_bias:
        bias = gptq.fit_bias(rows, codes * scales[:, :, None], float_bias, _find_output_range(unit, qparams))
        bias = bias.reshape(-1).astype(np.float32)
    return QuantizedWeights(_as_stored(layer, codes), scales.reshape(-1), bias), correction


def _round_weights(
    unit: FusionGroup, qparams: QuantizationParams, rows: gptq.SampledRows, w: np.ndarray, min_scales: np.ndarray
) -> tuple[np.ndarray, np.ndarray, LayerCorrection]:
    """Codes (g, o, d) and scales (g, o) of the weights ``w``, which need scales of ``min_scales``."""
    nearest = np.clip(np.rint(w / min_scales[:, :, None]), -WEIGHT_QMAX, WEIGHT_QMAX).astype(np.int8)
    error, unrounded = gptq.compute_output_errors(rows, nearest * min_scales[:, :, None], w)
    is_small = w.shape[2] <= SCALE_SEARCH_INPUTS
    has_float_input = str(unit.inputs[0].name) not in qparams.encodings
    too_little_to_gain = (
        w.shape[2] > MAX_FEEDBACK_INPUTS if has_float_input else unrounded >= (1.0 - MIN_ROUNDING_SHARE) * error
    )
    if not is_small and too_little_to_gain:
        return nearest, min_scales, LayerCorrection(unit.name, False, error)
    hessian, scales = gptq.compute_hessian(rows), min_scales
    if is_small:
        codes, scales = gptq.search_scales(w, hessian, min_scales, WEIGHT_QMAX)
    else:
        codes = gptq.round_gptq(w, hessian, min_scales.astype(np.float64), WEIGHT_QMAX)
    if qparams.reduce_range:
        # error feedback moves codes by more than a step, so a pair may saturate again
        stored = _as_stored(unit.layer, codes)
        saturating = saturation.find_saturating_channels(stored, unit.layer.output_axis).reshape(min_scales.shape)
        codes, scales = np.where(saturating[:, :, None], nearest, codes), np.where(saturating, min_scales, scales)
    (error,) = gptq.compute_output_errors(rows, codes * scales[:, :, None])
    return codes, scales, LayerCorrection(unit.name, True, error)


def _find_output_range(unit: FusionGroup, qparams: QuantizationParams) -> tuple[float, float]:
    """The range that the layer's output is clipped to, by its activation and by its output encoding."""
    low, high = unit.clip_range
    encoding = qparams.encodings.get(str(unit.outputs[0].name))
    if encoding is not None:
        limits = np.iinfo(encoding.zero_point.dtype)
        ends = encoding.dequantize(np.array([limits.min, limits.max], encoding.zero_point.dtype))
        low, high = max(low, float(ends[0])), min(high, float(ends[1]))
    return low, high


def _as_stored(layer: LinearLayer, codes: np.ndarray) -> np.ndarray:
    """Codes (groups, outputs of a group, inputs of an output) in the shape of the weight."""
    return np.ascontiguousarray(layer.as_stored(codes.reshape(layer.output_first.shape)))
