"""Statistics of activations in constant memory.

Two passes over the data in fully optimised sessions. The first reduces every watched tensor to its minimum and maximum
inside the graph; the second quantises it to 16 bits over that exact range, also inside the graph, and counts the codes
into :data:`~onnxslim.quantize.ranges.BINS` bins. Counts are integers, so statistics of shards add up to exactly the
statistics of the whole, and every range method reads the same histogram.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.errors import InvalidDataError
from onnxslim.graph import shapes
from onnxslim.graph.constants import constant
from onnxslim.progress import Progress, silent
from onnxslim.quantize.ranges import BINS, Histogram
from onnxslim.runtime.parallel import run_all, workers
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.taps import tap

Feeds = Iterable[Mapping[str, np.ndarray]]

#: Values of one tensor and sample that a histogram counts at most; a fixed stride picks them.
SAMPLED = 1 << 16
_CODES = 65535


@dataclass(frozen=True)
class Extremes:
    """The first pass: per tensor the range, and the per-sample extremes summed.

    Attributes:
        low: Minimum by tensor name.
        high: Maximum.
        sum_low: Sum over the samples of the sample's minimum.
        sum_high: The same of the maximum.
        samples: How many samples were seen.
    """

    low: dict[str, float]
    high: dict[str, float]
    sum_low: dict[str, float]
    sum_high: dict[str, float]
    samples: int

    def merge(self, other: Extremes) -> Extremes:
        """The extremes of both sets of samples together."""
        return Extremes(
            {name: min(value, other.low[name]) for name, value in self.low.items()},
            {name: max(value, other.high[name]) for name, value in self.high.items()},
            {name: value + other.sum_low[name] for name, value in self.sum_low.items()},
            {name: value + other.sum_high[name] for name, value in self.sum_high.items()},
            self.samples + other.samples,
        )


@dataclass(frozen=True)
class Statistics:
    """Both passes: extremes and int64 (BINS,) counts by tensor name, over ``extremes``' ranges (zero included)."""

    extremes: Extremes
    counts: dict[str, np.ndarray]

    def merge(self, other: Statistics) -> Statistics:
        """Add the counts of other samples; both must have been counted over the same merged extremes."""
        return Statistics(self.extremes, {name: counts + other.counts[name] for name, counts in self.counts.items()})

    def histogram(self, names: Sequence[str]) -> Histogram:
        """One histogram for all of ``names`` (a group that shares its parameters)."""
        e = self.extremes
        low = min(min(e.low[name] for name in names), 0.0)
        high = max(max(e.high[name] for name in names), 0.0)
        total = np.zeros(BINS, np.int64)
        for name in names:
            total += _rebin(self.counts[name], _with_zero(e.low[name], e.high[name]), (low, high))
        return Histogram(
            low,
            high,
            total,
            min(min(e.sum_low[name] / e.samples for name in names), 0.0),
            max(max(e.sum_high[name] / e.samples for name in names), 0.0),
        )


def extremes(
    model: ir.Model,
    feeds: Feeds,
    names: Sequence[str],
    config: SessionConfig | None = None,
    progress: Progress = silent,
    total: int = 0,
) -> Extremes:
    """Run the first pass.

    Raises:
        InvalidDataError: A NaN or an infinity in an activation (tensor and sample are named), or no samples.
    """
    watched = _watch_extremes(model, names)
    lows, highs = [f"{name}__low" for name in names], [f"{name}__high" for name in names]

    def reduce(index: int, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        low = np.array([float(found[name].min(initial=np.inf)) for name in lows])
        high = np.array([float(found[name].max(initial=-np.inf)) for name in highs])
        outputs = [array for name, array in found.items() if name not in inner and _is_float(array)]
        if not (np.isfinite(low).all() and np.isfinite(high).all() and all(np.isfinite(a).all() for a in outputs)):
            raise _NotFiniteError(index)
        return low, high

    inner = {*lows, *highs}
    kept = list(names)
    minimum, maximum = np.full(len(kept), np.inf), np.full(len(kept), -np.inf)
    sums, samples = np.zeros((2, len(kept))), 0
    try:
        for low, high in run_all(watched, feeds, reduce, config):
            minimum, maximum = np.minimum(minimum, low), np.maximum(maximum, high)
            sums += (low, high)
            samples += 1
            progress("ranges", samples, total)
    except _NotFiniteError as error:
        raise InvalidDataError(
            f"calibration sample {error.sample}: NaN or infinity in {_culprit(model, feeds, error.sample, config)}",
            hint="look at that sample's values and at the preprocessing",
        ) from None
    if not samples:
        raise InvalidDataError("no calibration samples")

    def named(values: np.ndarray) -> dict[str, float]:
        return dict(zip(kept, values.tolist(), strict=True))

    return Extremes(named(minimum), named(maximum), named(sums[0]), named(sums[1]), samples)


def histograms(
    model: ir.Model,
    feeds: Feeds,
    found: Extremes,
    config: SessionConfig | None = None,
    progress: Progress = silent,
    total: int = 0,
    max_memory: int = 1 << 62,
) -> Statistics:
    """Run the second pass over the ranges of ``found``; where ``max_memory`` bytes do not hold the codes of all
    tensors for the samples under way, a share of the tensors is watched at a time.
    """
    names = list(found.low)
    groups = _parts(model, names, max_memory, config)
    counts: dict[str, np.ndarray] = {name: np.zeros(BINS, np.int64) for name in names}
    for start in range(groups):
        part = names[start::groups]
        watched = _watch_codes(model, found, part)

        def reduce(index: int, outputs: dict[str, np.ndarray], part: Sequence[str] = part) -> list[np.ndarray]:
            return [_count(outputs[f"{name}__codes"]) for name in part]

        for done, result in enumerate(run_all(watched, feeds, reduce, config)):
            for name, bins in zip(part, result, strict=True):
                counts[name] += bins
            progress("histograms", done + 1 + start * total, total * groups)
    return Statistics(found, counts)


def channels(
    model: ir.Model, feeds: Feeds, names: Sequence[str], config: SessionConfig | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per tensor and channel (axis 1) the largest magnitude and the mean square, float64 (C,) each."""

    def reduce(index: int, found: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        result = []
        for name in names:
            array = found[name]
            flat = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
            peak = np.maximum(flat.max(axis=1), -flat.min(axis=1)).astype(np.float64)
            result.append((peak, np.einsum("cs,cs->c", flat, flat).astype(np.float64) / flat.shape[1]))
        return result

    totals: list[tuple[np.ndarray, np.ndarray]] = []
    samples = 0
    for found in run_all(tap(model, names, only=True), feeds, reduce, config):
        samples += 1
        if not totals:
            totals = found
        else:
            totals = [(np.maximum(p, q), e + f) for (p, e), (q, f) in zip(totals, found, strict=True)]
    return {name: (peak, energy / samples) for name, (peak, energy) in zip(names, totals, strict=True)}


class _NotFiniteError(Exception):
    def __init__(self, sample: int) -> None:
        super().__init__(sample)
        self.sample = sample


def _is_float(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def _culprit(model: ir.Model, feeds: Feeds, sample: int, config: SessionConfig | None) -> str:
    """The first tensor, in graph order, that is not finite for this sample."""
    feed = next((feed for index, feed in enumerate(feeds) if index == sample), None)
    if feed is None:
        return "an activation"
    names = [str(value.name) for node in model.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    outputs = Session(tap(model, names), config).run(feed)
    for name in names:
        if _is_float(outputs[name]) and not np.isfinite(outputs[name]).all():
            return f"tensor {name}"
    return "an output"


def _with_zero(low: float, high: float) -> tuple[float, float]:
    return min(low, 0.0), max(high, 0.0)


def _rebin(counts: np.ndarray, own: tuple[float, float], shared: tuple[float, float]) -> np.ndarray:
    """``counts`` over ``own``, moved into the bins of the wider range ``shared`` by their centres."""
    if own == shared or own[1] <= own[0]:
        return counts
    centres = own[0] + (np.arange(BINS) + 0.5) * (own[1] - own[0]) / BINS
    index = np.floor((centres - shared[0]) / (shared[1] - shared[0]) * BINS).astype(np.int64)
    return np.bincount(np.clip(index, 0, BINS - 1), weights=counts, minlength=BINS).astype(np.int64)


def _count(codes: np.ndarray) -> np.ndarray:
    flat = codes.reshape(-1)
    # an odd stride visits every residue of the power-of-two sizes that feature maps have
    stride = max(1, flat.size // SAMPLED) | 1
    return np.bincount(flat[::stride] >> 5, minlength=BINS).astype(np.int64)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in model.graph:
        yield from node.outputs


def _watch_extremes(model: ir.Model, names: Sequence[str]) -> ir.Model:
    watched = model.clone()
    by_name = {value.name: value for value in _values(watched)}
    for name in names:
        for op, suffix in (("ReduceMin", "__low"), ("ReduceMax", "__high")):
            node = ir.node(op, [by_name[name]], {"keepdims": 0})
            _output(watched, node, name + suffix, by_name[name].dtype)
    return watched


def _watch_codes(model: ir.Model, found: Extremes, names: Sequence[str]) -> ir.Model:
    watched = model.clone()
    watched.graph.outputs.clear()
    by_name = {value.name: value for value in _values(watched)}
    for name in names:
        low, high = _with_zero(found.low[name], found.high[name])
        span = high - low if high > low else 1.0
        scale = np.float32(span / _CODES)
        zero = np.uint16(np.clip(round(-low / float(scale)), 0, _CODES))
        parameters = [_initializer(watched, f"{name}__{key}", array) for key, array in (("s", scale), ("z", zero))]
        node = ir.node("QuantizeLinear", [by_name[name], *parameters], domain="com.microsoft")
        _output(watched, node, f"{name}__codes", ir.DataType.UINT16)
    watched.opset_imports["com.microsoft"] = 1
    return watched


def _output(model: ir.Model, node: ir.Node, name: str, dtype: ir.DataType | None) -> None:
    node.outputs[0].name = name
    node.outputs[0].dtype = dtype or ir.DataType.FLOAT
    model.graph.append(node)
    model.graph.outputs.append(node.outputs[0])


def _initializer(model: ir.Model, name: str, array: np.ndarray | np.generic) -> ir.Value:
    tensor = ir.tensor(np.asarray(array), name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    model.graph.register_initializer(value)
    return value


def _parts(model: ir.Model, names: Sequence[str], max_memory: int, config: SessionConfig | None) -> int:
    """Into how many parts the watched tensors are split so that their 16-bit codes fit into ``max_memory``."""
    bound = model.clone()
    shapes.bind(bound)
    by_name = {value.name: shapes.static(value) for value in _values(bound)}
    codes = sum(2 * math.prod(by_name[name] or ()) for name in names)
    return min(len(names) or 1, max(1, math.ceil(codes * workers(config or SessionConfig()) / max_memory)))


def constant_histogram(value: ir.Value) -> Histogram:
    """The histogram of a float constant that an int8 op reads as an activation."""
    array = constant(value)
    assert array is not None, f"{value.name} is no constant"
    low, high = _with_zero(float(array.min(initial=0.0)), float(array.max(initial=0.0)))
    span = high - low if high > low else 1.0
    index = np.clip(((array.reshape(-1) - low) / span * BINS).astype(np.int64), 0, BINS - 1)
    return Histogram(low, high, np.bincount(index, minlength=BINS).astype(np.int64), low, high)
