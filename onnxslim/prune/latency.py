"""Latency as a budget: what candidates save on this machine, measured one by one, and how long the result takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.channels.blocks import Block
from onnxslim.channels.rewrite import apply
from onnxslim.channels.units import Analysis
from onnxslim.data.samples import Samples
from onnxslim.prune import layers as linear
from onnxslim.prune.blocks import tidy
from onnxslim.prune.candidates import Candidates
from onnxslim.prune.select import Savings, amounts
from onnxslim.runtime.profile import NodeTime, node_times
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.timing import interleave
from onnxslim.validate.statistics import ratio_interval

Feed = Mapping[str, np.ndarray]

#: Kernels work on blocks of channels; between multiples of this a cut only ever costs time.
BLOCK = 8
#: An interval of a ratio wider than this share of it says more of the machine than of the models.
STEADY = 0.1
#: At most so many widths of one family are timed.
WIDTHS = 6


class Clock:
    """Times models against one another on this machine.

    Args:
        original: The model that ratios are about.
        samples: The first of them is what is run.
        config: How it runs.
    """

    def __init__(self, original: ir.Model, samples: Samples, config: SessionConfig) -> None:
        self._config = config
        self._feeds = [dict(next(iter(samples.batches(1))))]
        self._session = Session(original, config)
        self._seconds: float | None = None
        self._spread = 0.0

    def seconds(self, model: ir.Model) -> float:
        """One inference of ``model``, at the pace the original had when it was first timed.

        Both run in turn, so what is measured is their ratio.
        """
        bare = io.clone(model)
        tidy(bare)
        sessions = {"original": self._session, "now": Session(bare, self._config)}
        timing = interleave(sessions, self._feeds, rounds=40, seconds=4.0)
        if self._seconds is None:
            self._seconds = timing.median("original")
        ratio = timing.ratio("original", "now")
        low, high = ratio_interval(timing.rounds["original"], timing.rounds["now"])
        self._spread = (high - low) / ratio
        return self._seconds / ratio

    def doubt(self) -> str | None:
        """What to warn of when the last time taken, the result's, cannot be relied on, else None."""
        if self._spread <= STEADY:
            return None
        return (
            f"this machine was noisy while it was timed (ratios to within {self._spread:.0%}): what was removed may save "
            "much more or less than was asked; prune again when nothing else runs"
        )

    def savings(self, found: Candidates, round_to: str | int) -> Savings:
        """Seconds that each family saves at a few widths, and each block: from the times of the nodes it touches."""
        dense = _Profile(found.model, node_times(found.model, self._feeds, self._config))
        curves = []
        for number, curve in enumerate(found.curves):
            gone = amounts(len(curve.family), round_to if isinstance(round_to, int) else BLOCK)
            gone = gone[np.unique(np.linspace(0, len(gone) - 1, WIDTHS + 1).round().astype(np.int64))]
            saved = [0.0]
            for amount in gone[1:].tolist():
                smaller = found.taster(number, amount)
                narrow = _Profile(smaller, node_times(smaller, self._feeds, self._config))
                saved.append(dense.spent(curve.family.nodes) - narrow.spent(curve.family.nodes))
            curves.append((gone, np.array(saved)))
        blocks = [dense.spent(block.nodes) - dense.spent([]) for block in found.blocks]
        forms = []
        for number, one in enumerate(found.factored):
            names = [one.node, f"{one.node}_low"]
            split = [found.formed(number, which, apart=True) for which in range(len(one.options))]
            times = [_Profile(model, node_times(model, self._feeds, self._config)).spent(names) for model in split]
            forms.append([dense.spent(names) - time for time in times])
        return Savings(curves, blocks, forms)


def halves(
    model: ir.Model, analysis: Analysis, groups: Sequence[Sequence[int]], feeds: Sequence[Feed], config: SessionConfig
) -> list[float]:
    """Seconds that one inference saves when half of each group's units go, kept channels a multiple of BLOCK if they can.

    Args:
        model: What ``analysis`` is of.
        analysis: Its units.
        groups: Unit numbers; each is timed on its own.
        feeds: What is run, over and over.
        config: How.
    """
    dense = _Profile(model, node_times(model, feeds, config))
    units, sites, _ = analysis.incidence("sites")
    saved = []
    for group in groups:
        gone = amounts(len(group), BLOCK if len(group) > BLOCK else 1)
        few = group[: int(gone[np.abs(gone - len(group) / 2).argmin()])]
        smaller = io.clone(model)
        apply(smaller, analysis, analysis.spare(few))
        names = {analysis.sites[int(site)].name for site in sites[units == group[0]]}
        saved.append(dense.spent(names) - _Profile(smaller, node_times(smaller, feeds, config)).spent(names))
    return saved


def savings(model: ir.Model, blocks: Sequence[Block], feeds: Sequence[Feed], config: SessionConfig) -> list[float]:
    """Seconds of one inference that each of ``blocks`` takes, as far as its layers go."""
    dense = _Profile(model, node_times(model, feeds, config))
    return [dense.spent(block.nodes) - dense.spent([]) for block in blocks]


class _Profile:
    """What each layer of a graph took, whatever the runtime has made of it.

    The runtime names a fused node after a tensor or node that it swallowed, with something added; so the layer a fused
    node stands for is the first one ahead of, or at, what it is named after.
    """

    def __init__(self, model: ir.Model, times: Mapping[str, NodeTime]) -> None:
        known: dict[str, ir.Node] = {}
        for node in model.graph:
            for output in node.outputs:
                known[str(output.name)] = node
            if node.name:
                known[node.name] = node
        layers = {layer.position for layer in linear.find(model.graph)}
        nodes = list(model.graph)
        heavy = {nodes[position] for position in layers}
        self._layers: dict[str, float] = {}
        self._rest = 0.0
        for name, time in times.items():
            layer = _layer_of(known.get(_base(name, known)), heavy)
            if layer is None:
                self._rest += time.seconds
            else:
                self._layers[str(layer.name)] = self._layers.get(str(layer.name), 0.0) + time.seconds

    def spent(self, nodes: Iterable[str]) -> float:
        """Seconds of the layers among ``nodes``, and of everything that is no layer."""
        return self._rest + sum(self._layers.get(name, 0.0) for name in nodes)


def _base(name: str, known: Mapping[str, ir.Node]) -> str:
    """What of ``name`` the graph knows: its longest beginning, cut at underscores, any words before it left out."""
    name = name if name in known else name.rsplit(" ", 1)[-1]
    while name not in known and "_" in name:
        name = name.rsplit("_", 1)[0]
    return name


def _layer_of(node: ir.Node | None, heavy: set[ir.Node]) -> ir.Node | None:
    """``node`` if it is a layer, else the layer right before it, through nodes that read one tensor only."""
    while node is not None and node not in heavy:
        before = [value.producer() for value in node.inputs if value is not None]
        producers = [producer for producer in before if producer is not None and producer.op_type != "Constant"]
        node = producers[0] if len(producers) == 1 else None
    return node
