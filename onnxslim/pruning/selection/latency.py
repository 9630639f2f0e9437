"""Latency as a budget: how long models take on this machine, and what half of a family's channels would save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.units import Analysis
from onnxslim.channels.removable_blocks import DroppableBlock
from onnxslim.channels.rewriter import delete_units
from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_timed_runs
from onnxslim.model_io import model_file
from onnxslim.pruning.block_dropping import remove_leftovers
from onnxslim.pruning.selection.knapsack import list_amounts
from onnxslim.pruning.selection.layer_times import LayerTimes
from onnxslim.runtime.node_profile import measure_node_times
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave
from onnxslim.validation.statistics import ratio_interval

InputTensors = Mapping[str, np.ndarray]

#: Kernels work on blocks of channels; between multiples of this a cut only ever costs time.
CHANNEL_MULTIPLE = 8
#: Rounds of one comparison: a budget is met by up to a dozen of them, to within some per cent.
_ROUNDS = 20
#: An interval of a ratio wider than this share of it says more of the machine than of the models.
MAX_RATIO_SPREAD = 0.1


class LatencyMeter:
    """Times models against one another on this machine.

    Args:
        original: The model that ratios are about.
        samples: The first of them, as many as ``config`` says, are what is run.
        config: How it runs.
    """

    def __init__(self, original: ir.Model, samples: Samples, config: SessionConfig) -> None:
        self._config = config
        self._feeds = draw_timed_runs(samples, 1, config.batch_size)
        self._session = open_timed_session(original, config)
        self._original_seconds: float | None = None
        self._ratio_spread = 0.0

    def measure_seconds(self, model: ir.Model) -> float:
        """One inference of ``model``, at the pace the original had when it was first timed.

        Both run in turn, so what is measured is their ratio.
        """
        cleaned = model_file.clone(model)
        remove_leftovers(cleaned)
        sessions = {"original": self._session, "now": open_timed_session(cleaned, self._config)}
        timing = interleave(sessions, self._feeds, rounds=_ROUNDS, seconds=4.0)
        if self._original_seconds is None:
            self._original_seconds = timing.median("original")
        ratio = timing.ratio("original", "now")
        low, high = ratio_interval(timing.rounds["original"], timing.rounds["now"])
        self._ratio_spread = (high - low) / ratio
        return self._original_seconds / ratio

    def noise_warning(self) -> str | None:
        """What to warn of when the last time taken, the result's, cannot be relied on, else None."""
        if self._ratio_spread <= MAX_RATIO_SPREAD:
            return None
        return (
            f"this machine was noisy while it was timed (ratios to within {self._ratio_spread:.0%}): what was removed may "
            "save much more or less than was asked; prune again when nothing else runs"
        )


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
