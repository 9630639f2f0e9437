"""The second moments of what layers read, a few layers at a time: they are as large as the layers themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import ObservedModel
from onnxslim.core.memory_budget import scale_bytes
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.shapes import read_dim_sizes
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.linear_layers import WeightMatrix
from onnxslim.quantization.numerics.blockwise import Feedback, make_feedback
from onnxslim.quantization.weight_only.mixed.formats import MixedWeight
from onnxslim.runtime.session import Session, SessionConfig

#: Bytes of the moments that are held at a time, in float64 and as they come.
MAX_MOMENT_BYTES = 256_000_000
#: Runs that moments are taken of: at least, at most, and in between as many as these multiply-accumulates pay for.
MIN_RUNS, MAX_RUNS, RUN_MACS = 8, 192, 3e11
#: Which share of the time of a step moments may take, how often they are taken (to choose, and to round), and how many
#: plain runs one of those takes as long as.
_TIME_SHARE, _PASSES, _OBSERVED_RUNS = 0.3, 2, 2.0
#: Damping before moments are inverted (Frantar et al., GPTQ, 2022), and how much more with fewer rows for a layer's inputs.
DAMPING, SCARCITY_DAMPING = 0.01, 0.1
#: The tensors that the layers of one weight read: one, or several where layers share the weight.
_Read = tuple[str, ...]


@dataclass(frozen=True)
class InputMoments:
    """Of the inputs of one layer.

    Attributes:
        gram: XᵀX / rows, float64 (K, K).
        rows: Of how many.
    """

    gram: np.ndarray
    rows: int

    @cached_property
    def feedback(self) -> Feedback:
        """How roundings of the weights of layers that read them make up for each other."""
        return make_feedback(self.gram, DAMPING + SCARCITY_DAMPING * len(self.gram) / max(self.rows, 1))


def count_runs(model: ir.Model, feeds: CalibrationFeeds) -> int:
    """How many runs moments are taken of, whatever the machine; of texts prompts above all, which show many tokens each."""
    macs = max(compute_cost(model, read_dim_sizes(model, feeds.with_prompts(1).first(1)[0])).macs, 1)
    return min(int(min(max(RUN_MACS / macs, MIN_RUNS), MAX_RUNS)), len(feeds))


def count_affordable_runs(
    model: ir.Model, weights: Sequence[MixedWeight], feeds: CalibrationFeeds, config: SessionConfig, seconds: float
) -> int:
    """Of :func:`count_runs` those that there is time for in a step of so many ``seconds``; a few whatever it takes."""
    session, feed = Session(model, config), feeds.with_prompts(1).first(1)[0]
    started = time.monotonic()
    session.run(feed)
    run_seconds = time.monotonic() - started
    reads = _group_by_reads(model, weights)
    passes = _PASSES * len(list(_split({read: group[0].matrix.shape[1] for read, group in reads.items() if read})))
    affordable = _TIME_SHARE * seconds / (max(passes, 1) * _OBSERVED_RUNS * max(run_seconds, 1e-9))
    wanted = count_runs(model, feeds)
    return min(wanted, max(MIN_RUNS, int(min(affordable, wanted))))


def iter_moments(
    model: ir.Model, weights: Sequence[MixedWeight], feeds: CalibrationFeeds, config: SessionConfig
) -> Iterator[tuple[MixedWeight, InputMoments | None]]:
    """Each of ``weights`` with the moments of what all its layers read; None where none of the main graph multiplies by it.

    Args:
        model: The float model that they are of.
        weights: In any order; they come by what they read.
        feeds: Calibration data.
        config: Where to run.
    """
    readers = _group_by_reads(model, weights)
    yield from ((weight, None) for weight in readers.pop((), []))
    for reads in _split({read: group[0].matrix.shape[1] for read, group in readers.items()}):
        moments = _collect(model, reads, feeds, config)
        for read in reads:
            found = moments.pop(read)
            for weight in readers[read]:
                yield weight, found if found.rows else None


def _group_by_reads(model: ir.Model, weights: Sequence[MixedWeight]) -> dict[_Read, list[MixedWeight]]:
    """``weights`` by the tensors of the main graph that their layers read; by none of what no layer there multiplies."""
    known = {value.name for value in model.graph.inputs} | {value.name for node in model.graph for value in node.outputs}
    readers: dict[_Read, list[MixedWeight]] = {}
    for weight in weights:
        layers = weight.stored.linear_layers if isinstance(weight.stored, WeightMatrix) else []
        names = dict.fromkeys(str(layer.activation.name) for layer in layers)
        readers.setdefault(tuple(name for name in names if name in known), []).append(weight)
    return readers


def _split(inputs: dict[_Read, int]) -> Iterator[list[_Read]]:
    """The tensors in groups whose moments fit into memory together; ``inputs`` are their sizes."""
    group: list[_Read] = []
    held = 0
    for read, size in inputs.items():
        # float64, and float32 of a run on each of two threads
        nbytes = 16 * size * size
        if group and held + nbytes > scale_bytes(MAX_MOMENT_BYTES):
            yield group
            group, held = [], 0
        group.append(read)
        held += nbytes
    if group:
        yield group


def _collect(
    model: ir.Model, reads: Sequence[_Read], feeds: CalibrationFeeds, config: SessionConfig
) -> dict[_Read, InputMoments]:
    observed = ObservedModel(model)

    def flatten(value: ir.Value) -> ir.Value:
        columns = observed.append("Slice", observed.append("Shape", value), [-1], [2**62])
        return observed.append("Reshape", value, observed.append("Concat", [-1], columns, axis=0))

    for index, read in enumerate(reads):
        flats = [flatten(observed.values[name]) for name in read]
        flat = flats[0] if len(flats) == 1 else observed.append("Concat", *flats, axis=0)
        gram = observed.append("MatMul", observed.append("Transpose", flat, perm=[1, 0]), flat)
        observed.add_output(gram, f"moments__{index}", ir.DataType.FLOAT)
        observed.add_output(observed.append("Shape", flat), f"moments__{index}_shape", ir.DataType.INT64)
    grams: dict[_Read, np.ndarray] = {}
    counts = dict.fromkeys(reads, 0)
    # added up in the order of the runs, so that the last bits do not depend on which of them was done first
    for outputs in observed.run(feeds, lambda _, outputs: outputs, config):
        for index, read in enumerate(reads):
            gram = outputs[f"moments__{index}"]
            if np.isfinite(gram).all():
                grams[read] = grams[read] + gram if read in grams else gram.astype(np.float64)
                counts[read] += int(outputs[f"moments__{index}_shape"][0])
    return {read: InputMoments(grams[read] / max(counts[read], 1), counts[read]) for read in reads if read in grams} | {
        read: InputMoments(np.zeros((0, 0)), 0) for read in reads if read not in grams
    }
