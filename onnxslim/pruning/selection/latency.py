"""Latency as a budget: how long models take on this machine, and what half of a family's channels would save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.units import Analysis
from onnxslim.channels.removable_blocks import DroppableBlock
from onnxslim.channels.rewriter import delete_units
from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_timed_runs
from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.pruning.block_dropping import remove_leftovers
from onnxslim.pruning.selection.knapsack import list_amounts
from onnxslim.pruning.selection.layer_times import LayerTimes
from onnxslim.pruning.selection.readings import Reading
from onnxslim.runtime.node_profile import measure_node_times
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave
from onnxslim.validation.statistics import compute_error, ratio_interval

InputTensors = Mapping[str, np.ndarray]

#: Kernels work on blocks of channels; between multiples of this a cut only ever costs time.
CHANNEL_MULTIPLE = 8
#: Rounds of one reading, and its seconds at most. A cut is read several times: sessions differ by more than rounds tell.
_ROUNDS, _SECONDS_PER_READING = 10, 8.0


def finish_for_timing(model: ir.Model, known: shapes.KnownShapes) -> ir.Model:
    """A copy of ``model`` as it would be written, with the shapes of those values that are ``known`` of the whole model.

    What the runtime fuses hangs on them: files of the same nodes have differed by 1.17 in time.
    """
    finished = model_file.clone(model)
    remove_leftovers(finished)
    shapes.infer(finished)
    shapes.keep_known(finished, known)
    return finished


class LatencyMeter:
    """Times models against one another on this machine.

    Args:
        original: The model that ratios are about.
        samples: The first of them, as many as ``config`` says, are what is run.
        config: How it runs.
    """

    def __init__(self, original: ir.Model, samples: Samples, config: SessionConfig) -> None:
        self.original, self._config = original, config
        self._known = shapes.list_known(original)
        self._feeds = draw_timed_runs(samples, 1, config.batch_size)

    @cached_property
    def original_seconds(self) -> float:
        """One inference of the original, as it was first timed."""
        sessions = {"original": open_timed_session(self.original, self._config)}
        return interleave(sessions, self._feeds, rounds=_ROUNDS, seconds=_SECONDS_PER_READING).median("original")

    def read(self, model: ir.Model) -> Reading:
        """Seconds of one inference of ``model``, at the pace the original had when it was first timed.

        Both run in turn, in sessions of their own each time, so what is read is their ratio; its error is what the rounds
        tell of it.
        """
        models = {"original": self.original, "now": finish_for_timing(model, self._known)}
        sessions = {name: open_timed_session(timed, self._config) for name, timed in models.items()}
        timing = interleave(sessions, self._feeds, rounds=_ROUNDS, seconds=_SECONDS_PER_READING)
        seconds = self.original_seconds / timing.ratio("original", "now")
        error = compute_error(ratio_interval(timing.rounds["now"], timing.rounds["original"]))
        return Reading(seconds, self.original_seconds * error)


def time_half_widths(
    model: ir.Model,
    analysis: Analysis,
    groups: Sequence[Sequence[int]],
    feeds: Sequence[InputTensors],
    config: SessionConfig,
) -> list[float]:
    """Seconds that one inference saves when half of each group's units go, kept channels a multiple of BLOCK if they can.

    Args:
        model: What ``analysis`` is of.
        analysis: Its units.
        groups: Unit numbers; each is timed on its own.
        feeds: What is run, over and over.
        config: How it is run.
    """
    dense_times = LayerTimes(model, measure_node_times(model, feeds, config))
    units, sites, _ = analysis.incidence("sites")
    saved = []
    for group in groups:
        removable = list_amounts(len(group), CHANNEL_MULTIPLE if len(group) > CHANNEL_MULTIPLE else 1)
        removed_units = group[: int(removable[np.abs(removable - len(group) / 2).argmin()])]
        smaller = model_file.clone(model)
        delete_units(smaller, analysis, analysis.spare(removed_units))
        names = {analysis.sites[int(site)].name for site in sites[units == group[0]]}
        narrow_times = LayerTimes(smaller, measure_node_times(smaller, feeds, config))
        saved.append(dense_times.total_seconds(names) - narrow_times.total_seconds(names))
    return saved


def time_blocks(
    model: ir.Model, blocks: Sequence[DroppableBlock], feeds: Sequence[InputTensors], config: SessionConfig
) -> list[float]:
    """Seconds of one inference that each of ``blocks`` takes, as far as its layers go."""
    dense_times = LayerTimes(model, measure_node_times(model, feeds, config))
    return [dense_times.total_seconds(block.nodes) - dense_times.total_seconds([]) for block in blocks]
