"""Latency as a budget: what candidates save on this machine, measured one by one, and how long the result takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.units import Analysis
from onnxslim.channels.removable_blocks import DroppableBlock
from onnxslim.channels.rewriter import delete_units
from onnxslim.data.samples import Samples
from onnxslim.data.split import list_timed
from onnxslim.graph.layers import find_linear_layers
from onnxslim.model_io import model_file
from onnxslim.pruning.block_dropping import remove_leftovers
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.knapsack import Savings, list_amounts
from onnxslim.runtime.node_profile import NodeTime, measure_node_times
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.timing import interleave
from onnxslim.validation.statistics import ratio_interval

InputTensors = Mapping[str, np.ndarray]

#: Kernels work on blocks of channels; between multiples of this a cut only ever costs time.
CHANNEL_MULTIPLE = 8
#: An interval of a ratio wider than this share of it says more of the machine than of the models.
MAX_RATIO_SPREAD = 0.1
#: At most so many widths of one family are timed.
MAX_WIDTHS = 6


class LatencyMeter:
    """Times models against one another on this machine.

    Args:
        original: The model that ratios are about.
        samples: The first of them is what is run.
        config: How it runs.
    """

    def __init__(self, original: ir.Model, samples: Samples, config: SessionConfig) -> None:
        self._config = config
        self._feeds = [dict(next(iter(samples.take(list_timed(samples, 1)).batches(1))))]
        self._session = Session(original, config)
        self._original_seconds: float | None = None
        self._ratio_spread = 0.0

    def measure_seconds(self, model: ir.Model) -> float:
        """One inference of ``model``, at the pace the original had when it was first timed.

        Both run in turn, so what is measured is their ratio.
        """
        cleaned = model_file.clone(model)
        remove_leftovers(cleaned)
        sessions = {"original": self._session, "now": Session(cleaned, self._config)}
        timing = interleave(sessions, self._feeds, rounds=40, seconds=4.0)
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

    def measure_savings(self, candidates: Candidates, round_to: str | int) -> Savings:
        """Seconds that each family saves at a few widths, and each block: from the times of the nodes it touches."""
        dense_times = _LayerTimes(candidates.model, measure_node_times(candidates.model, self._feeds, self._config))
        curves = []
        for number, curve in enumerate(candidates.curves):
            removable = list_amounts(len(curve.group), round_to if isinstance(round_to, int) else CHANNEL_MULTIPLE)
            removable = removable[np.unique(np.linspace(0, len(removable) - 1, MAX_WIDTHS + 1).round().astype(np.int64))]
            saved = [0.0]
            for removed_count in removable[1:].tolist():
                smaller = candidates.build_trial(number, removed_count)
                narrow_times = _LayerTimes(smaller, measure_node_times(smaller, self._feeds, self._config))
                saved.append(dense_times.total_seconds(curve.group.nodes) - narrow_times.total_seconds(curve.group.nodes))
            curves.append((removable, np.array(saved)))
        blocks = [dense_times.total_seconds(block.nodes) - dense_times.total_seconds([]) for block in candidates.blocks]
        factorizations = []
        for number, factorizable in enumerate(candidates.factorizable):
            names = [factorizable.node, f"{factorizable.node}_low"]
            saved = []
            for variant in range(len(factorizable.options)):
                split = candidates.build_factorized(number, variant, as_split=True)
                split_times = _LayerTimes(split, measure_node_times(split, self._feeds, self._config))
                saved.append(dense_times.total_seconds(names) - split_times.total_seconds(names))
            factorizations.append(saved)
        return Savings(curves, blocks, factorizations)


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
    dense_times = _LayerTimes(model, measure_node_times(model, feeds, config))
    units, sites, _ = analysis.incidence("sites")
    saved = []
    for group in groups:
        removable = list_amounts(len(group), CHANNEL_MULTIPLE if len(group) > CHANNEL_MULTIPLE else 1)
        removed_units = group[: int(removable[np.abs(removable - len(group) / 2).argmin()])]
        smaller = model_file.clone(model)
        delete_units(smaller, analysis, analysis.spare(removed_units))
        names = {analysis.sites[int(site)].name for site in sites[units == group[0]]}
        narrow_times = _LayerTimes(smaller, measure_node_times(smaller, feeds, config))
        saved.append(dense_times.total_seconds(names) - narrow_times.total_seconds(names))
    return saved


def time_blocks(
    model: ir.Model, blocks: Sequence[DroppableBlock], feeds: Sequence[InputTensors], config: SessionConfig
) -> list[float]:
    """Seconds of one inference that each of ``blocks`` takes, as far as its layers go."""
    dense_times = _LayerTimes(model, measure_node_times(model, feeds, config))
    return [dense_times.total_seconds(block.nodes) - dense_times.total_seconds([]) for block in blocks]


class _LayerTimes:
    """What each layer of a graph took, whatever the runtime has made of it.

    The runtime names a fused node after a tensor or node that it swallowed, with something added; so the layer a fused
    node stands for is the first one ahead of, or at, what it is named after.
    """

    def __init__(self, model: ir.Model, times: Mapping[str, NodeTime]) -> None:
        node_by_name: dict[str, ir.Node] = {}
        for node in model.graph:
            node_by_name |= dict.fromkeys([str(output.name) for output in node.outputs], node)
            if node.name:
                node_by_name[node.name] = node
        layer_nodes = {layer.node for layer in find_linear_layers(model.graph).values()}
        self._layer_seconds: dict[str, float] = {}
        self._other_seconds = 0.0
        for name, time in times.items():
            layer = _nearest_layer(node_by_name.get(_longest_known_prefix(name, node_by_name)), layer_nodes)
            if layer is None:
                self._other_seconds += time.seconds
            else:
                self._layer_seconds[str(layer.name)] = self._layer_seconds.get(str(layer.name), 0.0) + time.seconds

    def total_seconds(self, nodes: Iterable[str]) -> float:
        """Seconds of the layers among ``nodes``, and of everything that is no layer."""
        return self._other_seconds + sum(self._layer_seconds.get(name, 0.0) for name in nodes)


def _longest_known_prefix(name: str, known_names: Mapping[str, ir.Node]) -> str:
    """What of ``name`` the graph knows: its longest beginning, cut at underscores, any words before it left out."""
    name = name if name in known_names else name.rsplit(" ", 1)[-1]
    while name not in known_names and "_" in name:
        name = name.rsplit("_", 1)[0]
    return name


def _nearest_layer(node: ir.Node | None, layer_nodes: set[ir.Node]) -> ir.Node | None:
    """``node`` if it is a layer, else the layer right before it, through nodes that read one tensor only."""
    while node is not None and node not in layer_nodes:
        input_producers = [value.producer() for value in node.inputs if value is not None]
        producers = [producer for producer in input_producers if producer is not None and producer.op_type != "Constant"]
        node = producers[0] if len(producers) == 1 else None
    return node
