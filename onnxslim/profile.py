"""Profile: where the time of one inference goes, layer by layer, as the runtime really ran it."""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.runtime.profile import NodeTime, fallback, node_times
from onnxslim.runtime.session import SessionConfig, trial

#: Inputs that the runs go through.
_FEEDS = 8
#: What runtimes fuse into the layer before it.
_ACTIVATIONS = frozenset("Relu Clip LeakyRelu Sigmoid Tanh HardSigmoid HardSwish Gelu BatchNormalization".split())
#: Where nodes are booked that no layer's name is in: reordering, Q and DQ of other tensors.
BETWEEN = "between the layers"


@dataclass(frozen=True)
class Profile:
    """One model's time.

    Attributes:
        name: Its path, or ``model``.
        nodes: What ran, slowest first; names are those after the runtime's optimisation.
        data: What the inputs were.
        warnings: One line each.
    """

    name: str
    nodes: list[NodeTime]
    data: str
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """All nodes together; what the session itself adds is not in it."""
        return sum(node.seconds for node in self.nodes)

    @property
    def ops(self) -> dict[str, tuple[int, float]]:
        """Op type → how many ran and their seconds, slowest first."""
        found: dict[str, list[float]] = defaultdict(list)
        for node in self.nodes:
            found[node.op].append(node.seconds)
        totals = {op: (len(times), sum(times)) for op, times in found.items()}
        return dict(sorted(totals.items(), key=lambda item: -item[1][1]))

    def as_json(self) -> dict[str, Any]:
        """One entry of the JSON's ``models``."""
        total = self.seconds or 1.0
        return {
            "name": self.name,
            "total_ms": 1e3 * self.seconds,
            "data": self.data,
            "ops": [
                {"op": op, "count": n, "ms": 1e3 * seconds, "share": seconds / total}
                for op, (n, seconds) in self.ops.items()
            ],
            "nodes": [
                {
                    "name": n.name,
                    "op": n.op,
                    "provider": n.provider,
                    "ms": 1e3 * n.seconds,
                    "share": n.seconds / total,
                }
                for n in self.nodes
            ],
        }


def profile(
    model: io.ModelLike,
    samples: Samples | None = None,
    *,
    config: SessionConfig | None = None,
    batch_size: int = 1,
    dims: Mapping[str, int] | None = None,
) -> Profile:
    """Run ``model`` with the runtime's profiler on.

    Args:
        model: What to run.
        samples: What it is fed with; random values by default.
        config: Where it runs.
        batch_size: Samples in one inference, where the model leaves that free.
        dims: Sizes of free dimensions, for random inputs.
    """
    loaded, config = io.load(model), config or SessionConfig()
    if samples is None:
        count = _FEEDS * batch_size
        samples = open_samples("random", loaded, max_samples=count, dims=dims, runs=trial(loaded, config))
    feeds = list(itertools.islice(samples.batches(batch_size), _FEEDS))
    nodes = sorted(node_times(loaded, feeds, config).values(), key=lambda node: -node.seconds)
    warnings = list(samples.warnings)
    if (caution := fallback(nodes, config)) is not None:
        warnings.append(caution)
    name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else "model"
    return Profile(name, nodes, samples.source, warnings)


@dataclass(frozen=True)
class Layer:
    """One layer of the first model, and the seconds that each model spends on it; None where it does not have it."""

    name: str
    seconds: tuple[float | None, ...]


def side_by_side(profiles: Sequence[Profile], first: io.ModelLike) -> list[Layer]:
    """The layers of ``first`` by the time that the models spend on them, the slowest first.

    A runtime renames and fuses nodes and keeps parts of their names, as compression does: a node of any model is booked
    on the layer of the first whose name, or whose output's, is in its own, the longest where there are several; on none
    ("between the layers") where there is none.
    """
    makers = {name: str(_owner(node).name) for node in io.load(first).graph for name in _names(node) if node.name}
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?![^\W_])" for name in sorted(makers, key=len, reverse=True)))
    times: dict[str, list[float | None]] = {}
    for index, one in enumerate(profiles):
        for node in one.nodes:
            match = pattern.search(node.name) if makers else None
            row = times.setdefault(makers[match[0]] if match else BETWEEN, [None] * len(profiles))
            row[index] = (row[index] or 0.0) + node.seconds
    layers = [Layer(name, tuple(row)) for name, row in times.items()]
    return sorted(layers, key=lambda layer: -max(s or 0.0 for s in layer.seconds))


def _owner(node: ir.Node) -> ir.Node:
    """The layer that ``node`` belongs to: an activation alone behind a layer is computed by it, and is named for both."""
    source = node.inputs[0] if node.op_type in _ACTIVATIONS and node.inputs else None
    producer = source.producer() if source is not None and len(list(source.uses())) == 1 else None
    return node if producer is None else _owner(producer)


def _names(node: ir.Node) -> list[str]:
    return [name for name in (node.name, *(output.name for output in node.outputs)) if name]
