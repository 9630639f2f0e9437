"""Activations watched while the data run through the float model, in constant memory and one pass.

Every watched tensor is reduced inside the graph, in a fully optimised session: to its exact minimum and maximum, to its
sum (which is not finite when any value is not), and to values at a fixed stride, which are counted outside
(:mod:`onnxslim.quantize.statistics`). Every range method reads the same histogram. Where memory is short the tensors are
watched in groups: more runs of the model instead of more bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxslim.errors import InvalidDataError
from onnxslim.graph import shapes
from onnxslim.graph.constants import constant
from onnxslim.progress import Progress, silent
from onnxslim.quantize.kept import Keeper
from onnxslim.quantize.ranges import BINS, Histogram
from onnxslim.quantize.statistics import Counter, Statistics
from onnxslim.quantize.watch import append, integers, output, reduced
from onnxslim.runtime.memory import give_back
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.taps import prune_unused, tap

Feeds = Iterable[Mapping[str, np.ndarray]]

#: Values of one tensor and sample that are counted: between two thirds of this and twice this, or all there are.
SAMPLED = 1 << 11
#: Bytes that one watched tensor takes: its counts, the nodes that reduce it, and its values in the runs under way.
WATCHED = 448 << 10


def statistics(
    model: ir.Model,
    feeds: Feeds,
    names: Sequence[str],
    config: SessionConfig | None = None,
    progress: Progress = silent,
    total: int = 0,
    *,
    keeper: Keeper | None = None,
    memory: int | None = None,
    first: int = 0,
) -> Statistics:
    """Watch the tensors ``names`` of ``model`` on single samples.

    Args:
        model: The float model; not changed.
        feeds: Single samples; iterated once for each group of tensors.
        names: Tensors of the main graph.
        config: Where to run.
        progress: Called after each sample.
        total: How many samples there are, for ``progress``.
        keeper: Knows the statistics of samples before ``feeds``, and keeps what is learnt.
        memory: Bytes that watching may take beside the model; where all tensors at a time would take more
            (:data:`WATCHED` each), they are watched in groups, and the data run through the model once for each.
        first: The number of the first sample, for messages.

    Raises:
        InvalidDataError: A NaN or an infinity in an activation (tensor and sample are named), or no samples.
    """
    size = len(names) if memory is None else max(1, memory // WATCHED)
    groups = [names[start : start + size] for start in range(0, len(names), max(size, 1))] or [names]
    # with several groups nothing is complete, and so nothing worth keeping, before the last one is
    kept = keeper if len(groups) == 1 else None
    start = None if keeper is None else keeper.start
    parts: list[Statistics] = []
    for done, group in enumerate(groups):
        began = None if start is None else start.of(group)
        counter = Counter(group, began)
        try:
            for low, high, values in run_all(_watched(model, group), feeds, partial(_read, group), config):
                counter.add(low, high, values)
                progress("statistics", done * total + len(counter), len(groups) * total)
                if kept is not None and kept.due():
                    kept.write(counter.result())
        except _NotFiniteError as error:
            sample = first + error.sample if keeper is None else int(keeper.left[error.sample])
            raise InvalidDataError(
                f"calibration sample {sample}: NaN or infinity in {_culprit(model, feeds, error.sample, config)}",
                hint="look at that sample's values and at the preprocessing",
            ) from None
        if not len(counter):
            raise InvalidDataError("no calibration samples")
        parts.append(counter.result())
        give_back()
    result = Statistics.beside(parts)
    if keeper is not None:
        keeper.write(result)
    return result


def _read(
    names: Sequence[str], index: int, found: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Extremes and some values of each tensor out of one run of :func:`_watched`."""
    low, high, total = (
        np.array([found.pop(f"{name}__{key}") for name in names], np.float32).reshape(-1)
        for key in ("low", "high", "sum")
    )
    values = [found.pop(f"{name}__some") for name in names]
    if not all(np.isfinite(array).all() for array in (low, high, total, *filter(_is_float, found.values()))):
        raise _NotFiniteError(index)
    return low, high, values


def channels(
    model: ir.Model, feeds: Feeds, names: Sequence[str], config: SessionConfig | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per tensor and channel (axis 1) the largest magnitude and the mean square, float64 (C,) each.

    A tensor whose rank is not known, or below 2, is left out.
    """
    watched, kept = model.clone(), []
    watched.graph.outputs.clear()
    by_name = {value.name: value for value in _values(watched)}
    for name in names:
        axes = [axis for axis in range(len(shapes.dims(by_name[name]) or ())) if axis != 1]
        if len(shapes.dims(by_name[name]) or ()) < 2:
            continue
        kept.append(name)
        for op, suffix in (("ReduceMin", "__low"), ("ReduceMax", "__high"), ("ReduceSumSquare", "__square")):
            output(watched, reduced(watched, op, by_name[name], axes), name + suffix, by_name[name].dtype)
        output(watched, append(watched, "Size", [by_name[name]]), name + "__size", ir.DataType.INT64)
    prune_unused(watched.graph)

    def reduce(index: int, found: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        result = []
        for name in kept:
            low, high, square, size = (found[f"{name}__{key}"] for key in ("low", "high", "square", "size"))
            result.append((np.maximum(high, -low).astype(np.float64), square * (float(square.size) / float(size))))
        return result

    totals: list[tuple[np.ndarray, np.ndarray]] = []
    samples = 0
    for found in run_all(watched, feeds, reduce, config) if kept else ():
        samples += 1
        if not totals:
            totals = found
        else:
            totals = [(np.maximum(p, q), e + f) for (p, e), (q, f) in zip(totals, found, strict=True)]
    return {name: (peak, energy / samples) for name, (peak, energy) in zip(kept, totals, strict=True)}


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


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in model.graph:
        yield from node.outputs


def _watched(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy with the model's outputs, and of each tensor ``__low``, ``__high``, ``__sum`` and ``__some``."""
    watched = model.clone()
    by_name = {value.name: value for value in _values(watched)}
    zero, one, end, flat = (integers(watched, [n]) for n in (0, 1, 2**62, -1))
    for name in names:
        value = by_name[name]
        for op, suffix in (("ReduceMin", "__low"), ("ReduceMax", "__high"), ("ReduceSum", "__sum")):
            output(watched, reduced(watched, op, value), name + suffix, value.dtype)
        # an odd stride visits every residue of the power-of-two sizes that feature maps have
        half = append(watched, "Div", [append(watched, "Size", [value]), integers(watched, 2 * SAMPLED)])
        stride = append(watched, "Reshape", [append(watched, "Mul", [half, integers(watched, 2)]), flat])
        step = append(watched, "Add", [stride, one])
        row = append(watched, "Reshape", [value, flat])
        output(watched, append(watched, "Slice", [row, zero, end, zero, step]), f"{name}__some", value.dtype)
    return watched


def constant_histogram(value: ir.Value) -> Histogram:
    """The histogram of a float constant that an int8 op reads as an activation."""
    array = constant(value)
    assert array is not None, f"{value.name} is no constant"
    low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
    span = high - low if high > low else 1.0
    index = np.clip(((array.reshape(-1) - low) / span * BINS).astype(np.int64), 0, BINS - 1)
    return Histogram(low, high, np.bincount(index, minlength=BINS).astype(np.int64), low, high)
