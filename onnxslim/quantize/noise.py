"""What int8 costs one linear layer alone, from taps: one run of the float model, then arrays.

Rows of every layer's input are sampled while the float model runs. A layer's noise is what quantising its input and its
weights does to its own output on those rows, everything before it still being float; no other model is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.quantize.encode import quantise_weight, weight_scales
from onnxslim.quantize.linear import Linear
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.taps import tap

#: Rows kept of one activation, over all samples.
ROWS = 256


@dataclass(frozen=True)
class Observed:
    """One activation on the calibration data.

    Attributes:
        rows: Sampled rows, float32 (r, K).
        low: Minimum of the whole tensor that each row was in, zero included: float32 (r, 1).
        high: The same of the maximum.
        peak: Largest absolute value of each channel over *all* rows, float32 (K,).
    """

    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray
    peak: np.ndarray


def observe(
    model: ir.Model,
    linears: Sequence[Linear],
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
) -> dict[str, Observed]:
    """The inputs of ``linears`` by tensor name; those inside If and Loop bodies cannot be seen and are left out."""
    names = list(dict.fromkeys(str(linear.activation.name) for linear in linears if visible(model, linear)))
    if not names or not feeds:
        return {}
    wanted = -(-ROWS // len(feeds))

    def sample(index: int, found: dict[str, np.ndarray]) -> dict[str, Observed]:
        result = {}
        for place, name in enumerate(names):
            flat = found[name].reshape(-1, found[name].shape[-1])
            if not flat.size:
                continue
            low, high = min(float(flat.min()), 0.0), max(float(flat.max()), 0.0)
            count = min(wanted, len(flat))
            picked = np.random.default_rng((seed, place, index)).choice(len(flat), count, replace=False)
            rows, peak = flat[np.sort(picked)], np.abs(flat).max(axis=0)
            ones = np.ones((count, 1), np.float32)
            result[name] = Observed(rows, low * ones, high * ones, peak)
        return result

    per_sample = list(run_all(tap(model, names, only=True), feeds, sample, config))
    found = {name: [one[name] for one in per_sample if name in one] for name in names}
    return {name: _joined(parts) for name, parts in found.items() if parts}


def visible(model: ir.Model, linear: Linear) -> bool:
    """Whether the layer's input is a float tensor of the main graph."""
    value = linear.activation
    producer = value.producer()
    # the parameters of a body are inputs of a graph too
    given = any(value is one for one in model.graph.inputs)
    return given or (producer is not None and producer.graph is model.graph)


def _joined(parts: Sequence[Observed]) -> Observed:
    rows, low, high = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "low", "high"))
    return Observed(rows, low, high, np.max([part.peak for part in parts], axis=0))


def matrix(linear: Linear) -> np.ndarray:
    """The layer's weights as (K, N)."""
    array = constant(linear.source)
    assert array is not None
    return array.T if linear.transposed else array


def noise(seen: Observed, weight: np.ndarray, smooth: np.ndarray | None = None) -> float:
    """‖x·W - x̂·Ŵ‖² / ‖x·W‖² of a layer whose input is quantised per tensor and whose weights are per output.

    Args:
        seen: Its input.
        weight: float32 (K, N).
        smooth: Factors (K,) that the input is divided and the weights are multiplied by first; the tensor's range is
            then that of the divided rows that were sampled.
    """
    x, low, high, wanted = seen.rows, seen.low, seen.high, seen.rows @ weight
    if smooth is not None:
        x, weight = x / smooth, weight * smooth[:, None]
        top = float((seen.peak / smooth).max())
        low, high = np.where(low < 0, -top, 0.0), np.where(high > 0, top, 0.0)
    scales = weight_scales(weight, 1)
    rounded = quantise_weight(weight, scales, 1).astype(np.float32) * scales
    found = _as_uint8(x, low, high) @ rounded
    signal = float(np.square(wanted, dtype=np.float64).sum())
    return float(np.square(wanted - found, dtype=np.float64).sum()) / max(signal, 1e-30)


def _as_uint8(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``x`` as DynamicQuantizeLinear rounds it, in float again."""
    scale = np.maximum((high - low) / 255.0, 1e-30)
    zero = np.rint(-low / scale)
    result: np.ndarray = ((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale).astype(np.float32)
    return result
