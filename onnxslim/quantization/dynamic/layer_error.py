"""What int8 costs one linear layer alone, from taps: one run of the float model, then arrays.

Rows of every layer's input are sampled while the float model runs. A layer's noise is what quantising its input and its
weights does to its own output on those rows, everything before it still being float; no other model is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import observe
from onnxslim.activations.output_error import energy, relative_error, squared_error
from onnxslim.graph.constants import get_const_array
from onnxslim.quantization.linear_layers import MatMulLayer
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight
from onnxslim.runtime.session import SessionConfig

#: Rows kept of one activation, over all samples.
MAX_SAMPLED_ROWS = 256


class Layer(Protocol):
    """What multiplies an activation by constants."""

    @property
    def activation(self) -> ir.Value:
        """The tensor that it reads."""


@dataclass(frozen=True)
class ObservedActivation:
    """Sampled rows and extremes of one activation on the calibration data.

    Attributes:
        rows: Sampled rows, float32 (r, K).
        low: Minimum of the whole tensor that each row was in, zero included: float32 (r, 1).
        high: The same of the maximum.
        peak: Largest absolute value of each channel over *all* rows, float32 (K,).
        partly_odd: How many samples hold rows that are not finite beside such as are.
        wholly_odd: How many hold nothing else.
    """

    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray
    peak: np.ndarray
    partly_odd: int = 0
    wholly_odd: int = 0


def observe_inputs(
    model: ir.Model,
    layers: Sequence[Layer],
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
) -> dict[str, ObservedActivation]:
    """The inputs of ``layers`` by tensor name; those inside If and Loop bodies cannot be seen and are left out."""
    names = list(dict.fromkeys(str(linear.activation.name) for linear in layers if is_observable(model, linear)))
    rows_per_feed = -(-MAX_SAMPLED_ROWS // max(len(feeds), 1))

    def sample_rows(index: int, name: str, array: np.ndarray) -> ObservedActivation | None:
        flat = array.reshape(-1, array.shape[-1])
        if not flat.size:
            return None
        low, high = min(float(flat.min()), 0.0), max(float(flat.max()), 0.0)
        partly_odd = wholly_odd = 0
        if not np.isfinite([low, high]).all():
            # one value that is not finite is enough for the runtime to find no range, and for nothing to be left of the rest
            low, high = -np.inf, np.inf
            finite = np.isfinite(flat).all(axis=1)
            partly_odd, wholly_odd = int(finite.any()), int(not finite.any())
            flat = flat[finite] if finite.any() else np.zeros_like(flat[:1])
        count = min(rows_per_feed, len(flat))
        row_indices = np.random.default_rng((seed, names.index(name), index)).choice(len(flat), count, replace=False)
        rows, peak = flat[np.sort(row_indices)], np.abs(flat).max(axis=0)
        ones = np.ones((count, 1), np.float32)
        return ObservedActivation(rows, low * ones, high * ones, peak, partly_odd, wholly_odd)

    observed = observe(model, names, feeds, sample_rows, config)
    joined = {}
    for name, samples in observed.items():
        if parts := [part for part in samples if part is not None]:
            rows, low, high = (np.concatenate([getattr(part, key) for part in parts]) for key in ("rows", "low", "high"))
            peak = np.max([part.peak for part in parts], axis=0)
            partly_odd, wholly_odd = (sum(getattr(part, key) for part in parts) for key in ("partly_odd", "wholly_odd"))
            joined[name] = ObservedActivation(rows, low, high, peak, partly_odd, wholly_odd)
    return joined


def is_observable(model: ir.Model, linear: Layer) -> bool:
    """Whether the layer's input is a float tensor of the main graph."""
    value = linear.activation
    producer = value.producer()
    # the parameters of a body are inputs of a graph too
    is_graph_input = any(value is graph_input for graph_input in model.graph.inputs)
    return is_graph_input or (producer is not None and producer.graph is model.graph)


def get_weight_matrix(linear: MatMulLayer) -> np.ndarray:
    """The layer's weights as (K, N)."""
    array = get_const_array(linear.weight_value)
    assert array is not None
    return array.T if linear.transposed else array


def quantization_noise(observed: ObservedActivation, weight: np.ndarray, factors: np.ndarray | None = None) -> float:
    """‖x·W - x̂·Ŵ‖² / ‖x·W‖² of a layer whose input is quantised per tensor and whose weights are per output.

    Args:
        observed: Its input.
        weight: float32 (K, N).
        factors: Factors (K,) that the input is divided and the weights are multiplied by first; the tensor's range is
            then that of the divided rows that were sampled.
    """
    x, low, high, reference = observed.rows, observed.low, observed.high, observed.rows @ weight
    if factors is not None:
        x, weight = x / factors, weight * factors[:, None]
        peak = float((observed.peak / factors).max())
        low, high = np.where(low < 0, -peak, 0.0), np.where(high > 0, peak, 0.0)
    scales = compute_weight_scales(weight, 1)
    rounded_weight = quantize_weight(weight, scales, 1).astype(np.float32) * scales
    quantized_output = _fake_quantize(x, low, high) @ rounded_weight
    return relative_error(squared_error(reference, quantized_output), energy(reference))


def _fake_quantize(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``x`` as DynamicQuantizeLinear rounds it, in float again."""
    scale = np.maximum((high - low) / 255.0, 1e-30)
    with np.errstate(invalid="ignore"):  # of an infinite range nothing is left
        zero_point = np.rint(-low / scale)
    result: np.ndarray = ((np.clip(np.rint(x / scale) + zero_point, 0, 255) - zero_point) * scale).astype(np.float32)
    return result
