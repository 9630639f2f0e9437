"""Profile: where the time of one inference goes, layer by layer, as the runtime really ran it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.data.samples import Batch, Samples
from onnxslim.data.sources import open_samples
from onnxslim.data.split import draw_timed_runs
from onnxslim.model_io import model_file
from onnxslim.runtime.load_check import check_survives
from onnxslim.runtime.node_profile import NodeTime, describe_fallback, measure_node_times
from onnxslim.runtime.session import SessionConfig, make_run_check

#: Inputs that the runs go through.
_FEED_COUNT = 8
#: What runtimes fuse into the layer before it.
_FUSED_OPS = frozenset("Relu Clip LeakyRelu Sigmoid Tanh HardSigmoid HardSwish Gelu BatchNormalization".split())
#: Where nodes are booked that no layer's name is in: reordering, Q and DQ of other tensors.
BETWEEN_LAYERS = "between the layers"


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
        seconds_by_op: dict[str, list[float]] = defaultdict(list)
        for node in self.nodes:
            seconds_by_op[node.op].append(node.seconds)
        totals = {op: (len(times), sum(times)) for op, times in seconds_by_op.items()}
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
                {"name": n.name, "op": n.op, "provider": n.provider, "ms": 1e3 * n.seconds, "share": n.seconds / total}
                for n in self.nodes
            ],
        }


def profile(
    model: model_file.ModelLike,
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
    loaded, config = model_file.load(model), config or SessionConfig()
    name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else "model"
    check_survives(loaded, config, name=name)
    samples, feeds = draw_feeds(loaded, samples, config, batch_size, dims)
    nodes = sorted(measure_node_times(loaded, feeds, config).values(), key=lambda node: -node.seconds)
    fallback = describe_fallback(nodes, config)
    return Profile(name, nodes, samples.source, [*samples.warnings, *([] if fallback is None else [fallback])])


def draw_feeds(
    model: ir.Model, samples: Samples | None, config: SessionConfig, batch_size: int, dims: Mapping[str, int] | None
) -> tuple[Samples, list[Batch]]:
    """What ``model`` is timed on, ``samples`` or else random values, and :data:`_FEED_COUNT` batches of it."""
    if samples is None:
        count = _FEED_COUNT * batch_size
        samples = open_samples("random", model, max_samples=count, dims=dims, run_check=make_run_check(model, config))
    return samples, draw_timed_runs(samples, _FEED_COUNT, batch_size)


@dataclass(frozen=True)
class LayerTime:
    """One layer of the first model, and the seconds that each model spends on it; None where it does not have it."""

    name: str
    seconds: tuple[float | None, ...]


def compare_layers(profiles: Sequence[Profile], first: model_file.ModelLike) -> list[LayerTime]:
    """The layers of ``first`` by the time that the models spend on them, the slowest first.

    A runtime renames and fuses nodes and keeps parts of their names, as compression does: a node of any model is booked
    on the layer of the first whose name, or whose output's, is in its own, the longest where there are several; on none
    ("between the layers") where there is none.
    """
    layer_by_name = {
        name: str(_find_owner(node).name)
        for node in model_file.load(first).graph
        for name in (node.name, *(output.name for output in node.outputs))
        if node.name and name
    }
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(name)}(?![^\W_])" for name in sorted(layer_by_name, key=len, reverse=True))
    )
    times: dict[str, list[float | None]] = {}
    for index, model_profile in enumerate(profiles):
        for node in model_profile.nodes:
            match = pattern.search(node.name) if layer_by_name else None
            row = times.setdefault(layer_by_name[match[0]] if match else BETWEEN_LAYERS, [None] * len(profiles))
            row[index] = (row[index] or 0.0) + node.seconds
    layers = [LayerTime(name, tuple(row)) for name, row in times.items()]
    return sorted(layers, key=lambda layer: -max(s or 0.0 for s in layer.seconds))


def _find_owner(node: ir.Node) -> ir.Node:
    """The layer that ``node`` belongs to: an activation alone behind a layer is computed by it, and is named for both."""
    source = node.inputs[0] if node.op_type in _FUSED_OPS and node.inputs else None
    producer = source.producer() if source is not None and len(list(source.uses())) == 1 else None
    return node if producer is None else _find_owner(producer)
