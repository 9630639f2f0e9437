"""Activations watched while the data run through the float model, in constant memory and one pass.

Every watched tensor is reduced inside the graph, right behind what makes it: to its exact minimum and maximum, to its
sum (which is not finite when any value is not), and to values at a fixed stride, which are counted outside
(:mod:`onnxslim.quantization.calibration.histograms`). Every range method reads the same histogram. Where memory is
short the tensors are watched in groups: more runs of the model instead of more bytes.

NaN and infinities inside are nothing to quantise (the softmax of a row that is masked out, which nobody reads), and a tensor
may have no elements (an empty past). As soon as either is met, the pass begins anew with ops that leave both out, which the
usual pass is spared. Of a sample whose outputs are NaN or infinite throughout nothing is learnt: every tensor of it counts
as one without elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import ObservedModel
from onnxslim.activations.output_error import is_float
from onnxslim.core.errors import InvalidDataError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.graph import shapes
from onnxslim.graph.signature import tap_outputs
from onnxslim.quantization.calibration.cache import CacheWriter
from onnxslim.quantization.calibration.histograms import Statistics, StatisticsAccumulator
from onnxslim.runtime.memory import release_freed_memory
from onnxslim.runtime.parallel import FeedIterable
from onnxslim.runtime.session import Session, SessionConfig

#: Values of one tensor and sample that are counted: between two thirds of this and twice this, or all there are.
VALUES_PER_SAMPLE = 1 << 11
#: Bytes that one watched tensor takes: its counts, the nodes that reduce it, and its values in the runs under way.
BYTES_PER_TENSOR = 448 << 10


def collect_statistics(
    model: ir.Model,
    feeds: FeedIterable,
    names: Sequence[str],
    config: SessionConfig | None = None,
    progress: Progress = ignore_progress,
    sample_count: int = 0,
    *,
    cache_writer: CacheWriter | None = None,
    memory_limit: int | None = None,
) -> Statistics:
    """Watch the tensors ``names`` of ``model`` on single samples.

    Args:
        model: The float model; not changed.
        feeds: Single samples; iterated once for each group of tensors.
        names: Tensors of the main graph.
        config: Where to run.
        progress: Called after each sample.
        sample_count: How many samples there are, for ``progress``.
        cache_writer: Knows the statistics of samples before ``feeds``, and keeps what is learnt.
        memory_limit: Bytes that watching may take beside the model; where all tensors at a time would take more
            (:data:`BYTES_PER_TENSOR` each), they are watched in groups, and the data run through the model once for each.

    Raises:
        InvalidDataError: There are no samples.
    """
    group_size = len(names) if memory_limit is None else max(1, memory_limit // BYTES_PER_TENSOR)
    groups = [names[start : start + group_size] for start in range(0, len(names), max(group_size, 1))] or [names]
    # with several groups nothing is complete, and so nothing worth keeping, before the last one is
    interim_writer = cache_writer if len(groups) == 1 else None
    start = None if cache_writer is None else cache_writer.known_statistics
    parts: list[Statistics] = []
    for group_index, group in enumerate(groups):
        group_start = None if start is None else start.select(group)
        for finite_only in (False, True):
            counter = StatisticsAccumulator(group, group_start)
            observed, read = _add_observers(model, group, finite_only), partial(_read_observations, group, finite_only)
            try:
                for low, high, values in observed.run(feeds, read, config):
                    counter.add(low, high, values)
                    progress("statistics", group_index * sample_count + len(counter), len(groups) * sample_count)
                    if interim_writer is not None and interim_writer.is_write_due():
                        interim_writer.write(counter.result())
                break
            except _NotFiniteError:
                continue
        if not len(counter):
            raise InvalidDataError("no calibration samples")
        parts.append(counter.result())
        release_freed_memory()
    result = Statistics.join_tensors(parts)
    if cache_writer is not None:
        cache_writer.write(result)
    return result


def check_seen(
    statistics: Statistics, model: ir.Model, feeds: FeedIterable, config: SessionConfig | None = None
) -> Statistics:
    """``statistics`` of all ``feeds``, if there is something to learn from.

    Raises:
        InvalidDataError: No sample has a finite output; a tensor is named, one of -inf last, for masks are such on purpose.
    """
    if statistics.count_unseen() < statistics.sample_count:
        return statistics
    names = [str(value.name) for node in model.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    outputs = Session(tap_outputs(model, names), config).run(next(iter(feeds)))
    wrong = [name for name in names if is_float(outputs[name]) and not np.isfinite(outputs[name]).all()]
    if not wrong:  # no sample has an element
        return statistics
    first = next((name for name in wrong if not (outputs[name] < np.inf).all()), wrong[0])
    raise InvalidDataError(
        f"tensor {first} is NaN or infinite in calibration sample 0, and every output with it, as in all other samples",
        hint="look at what makes that tensor, at the samples' values and at the preprocessing",
    )


def _read_observations(
    names: Sequence[str], finite_only: bool, index: int, outputs: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Extremes and some values of each tensor out of one run of :func:`_add_observers`; of none inf and -inf."""
    low, high = (
        np.array([outputs.pop(f"{name}__{key}") for name in names], np.float32).reshape(-1) for key in ("low", "high")
    )
    values = [outputs.pop(f"{name}__some") for name in names]
    if finite_only:
        own_outputs = [array for array in outputs.values() if is_float(array) and array.size]
        is_lost = bool(own_outputs) and not any(np.isfinite(array).any() for array in own_outputs)
        is_empty = (low > high) | is_lost
        return (
            np.where(is_empty, np.inf, low).astype(np.float32),
            np.where(is_empty, -np.inf, high).astype(np.float32),
            [array[np.isfinite(array) & (not is_lost)] for array in values],
        )
    total = np.array([outputs.pop(f"{name}__sum") for name in names], np.float32)
    if not all(np.isfinite(array).all() for array in (low, high, total, *filter(is_float, outputs.values()))):
        raise _NotFiniteError
    return low, high, values


def collect_channel_statistics(
    model: ir.Model, feeds: FeedIterable, names: Sequence[str], config: SessionConfig | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per tensor and channel (axis 1) the largest magnitude and the mean square, float64 (C,) each.

    A tensor whose rank is not known, or below 2, is left out.
    """
    observed, observed_names = ObservedModel(model), []
    for name in names:
        value = observed.values[name]
        rank = len(shapes.get_dims(value) or ())
        if rank < 2:
            continue
        observed_names.append(name)
        for op, suffix in (("ReduceMin", "__low"), ("ReduceMax", "__high"), ("ReduceSumSquare", "__square")):
            reduced = observed.append_reduction(op, value, [axis for axis in range(rank) if axis != 1])
            observed.add_output(reduced, name + suffix, value.dtype)
        observed.add_output(observed.append("Size", value), name + "__size", ir.DataType.INT64)

    def read_channels(index: int, outputs: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        result = []
        for name in observed_names:
            low, high, square, size = (outputs[f"{name}__{key}"] for key in ("low", "high", "square", "size"))
            energies = square.astype(np.float64) * (float(square.size) / max(float(size), 1.0))
            peaks = np.maximum(high, -low)
            # a sample with nothing in it, or what is no number, says nothing of a channel
            known = np.isfinite(peaks) & np.isfinite(energies)
            result.append((np.where(known, peaks, 0.0).astype(np.float64), np.where(known, energies, 0.0)))
        return result

    samples = list(observed.run(feeds, read_channels, config)) if observed_names else []
    result = {}
    for name, channels in zip(observed_names, zip(*samples, strict=True), strict=True):
        peaks, energies = zip(*channels, strict=True)
        result[name] = np.max(peaks, axis=0), np.asarray(sum(energies) / len(samples))
    return result


class _NotFiniteError(Exception):
    """Something in a sample is NaN or infinite."""


def _add_observers(model: ir.Model, names: Sequence[str], finite_only: bool) -> ObservedModel:
    """A copy with the model's outputs, and of each tensor ``__low``, ``__high``, ``__some`` and, unless what is finite alone
    is looked at, ``__sum``.
    """
    observed = ObservedModel(model, keep_outputs=True)
    for name in names:
        value = observed.values[name]
        reductions = ("ReduceMin", "__low"), ("ReduceMax", "__high"), ("ReduceSum", "__sum")
        if finite_only:
            _add_finite_extremes(observed, value)
        for op, suffix in () if finite_only else reductions:
            observed.add_output(observed.append_reduction(op, value), name + suffix, value.dtype)
        # an odd stride visits every residue of the power-of-two sizes that feature maps have
        half = observed.append("Div", observed.append("Size", value), 2 * VALUES_PER_SAMPLE)
        stride = observed.append("Add", observed.append("Reshape", observed.append("Mul", half, 2), [-1]), [1])
        flattened = observed.append("Reshape", value, [-1])
        observed.add_output(observed.append("Slice", flattened, [0], [2**62], [0], stride), f"{name}__some", value.dtype)
    return observed


def _add_finite_extremes(observed: ObservedModel, value: ir.Value) -> None:
    """``__low`` and ``__high`` of what is finite; of nothing the largest number and the least."""
    dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
    largest = np.array([np.finfo(dtype).max], dtype)
    flattened = observed.append("Reshape", value, [-1])
    # the difference of an infinity with itself is NaN too
    is_bad = observed.append("IsNaN", observed.append("Sub", flattened, flattened))
    for op, suffix, neutral in (("ReduceMin", "__low", largest), ("ReduceMax", "__high", -largest)):
        kept = observed.append("Concat", observed.append("Where", is_bad, neutral, flattened), neutral, axis=0)
        observed.add_output(observed.append_reduction(op, kept), str(value.name) + suffix, value.dtype)
