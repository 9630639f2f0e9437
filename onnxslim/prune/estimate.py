"""How long a prune step with data will take, told before it begins.

The step runs samples and multiplies matrices, so its time is two counts over two rates: inferences of the whole model,
and arithmetic of the least squares. The counts follow from the model and the number of samples; the rates are measured on
the spot, which takes a second or less.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.channels.analysis import units
from onnxslim.channels.blocks import blocks
from onnxslim.channels.layers import name_nodes
from onnxslim.data.samples import Samples
from onnxslim.errors import OnnxslimError
from onnxslim.graph.cost import cost
from onnxslim.prune import layers as linear
from onnxslim.prune.blocks import FEW
from onnxslim.prune.families import Family, families
from onnxslim.prune.gram import HOLD, positions_each
from onnxslim.prune.obs import STEPS
from onnxslim.prune.observe import DAMPINGS
from onnxslim.prune.score import LEVELS, WIDE
from onnxslim.prune.walk import BATCH
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig

#: Runs of all samples: to score, and to repair through the old and the new model, early layers twice.
PASSES = 4.5
#: Products of a layer's rows with its weight while it is fitted: dampings, sweeps and corrections.
PRODUCTS = 24
#: Side of the product that the rate of arithmetic is measured by.
SIDE = 384


@dataclass(frozen=True)
class Work:
    """What a prune step does.

    Attributes:
        runs: Inferences of the whole model on one sample.
        flops: Multiply-accumulates of scores and repairs.
    """

    runs: float
    flops: float


@dataclass(frozen=True)
class Rates:
    """What this machine does in a second: inferences of one sample, on all cores; multiply-accumulates, on one."""

    runs: float
    flops: float


def predict(model: io.ModelLike, samples: Samples, config: SessionConfig | None = None) -> float:
    """Seconds that :func:`onnxslim.prune.prune` will take with these samples; 0 where that cannot be told."""
    try:
        loaded = io.load(model)
        did, rate = work(loaded, len(samples)), rates(loaded, samples, config or SessionConfig())
    except OnnxslimError:
        return 0.0
    return did.runs / rate.runs + did.flops / rate.flops


def work(model: ir.Model, samples: int) -> Work:
    """What pruning ``model`` with so many samples comes to."""
    named = io.clone(model)
    name_nodes(named.graph)
    found = families(units(named, lossy=True))
    behind = _behind(named)
    held = max(samples // HOLD, 1)
    runs = PASSES * samples + (min(samples, FEW) + 0.5 * held) * bool(blocks(named))
    runs += sum(min(len(LEVELS), len(family)) * held * behind[min(family.first, len(behind) - 1)] for family in found)
    runs += 0.5 * held * len(blocks(named))
    return Work(runs, sum(_layer_work(layer, named, samples) for layer in linear.find(named.graph)) + _greedy(found))


def rates(model: ir.Model, samples: Samples, config: SessionConfig) -> Rates:
    """Measured here and now."""
    batches = [dict(batch) for _, batch in zip(range(2), samples.batches(BATCH), strict=False)]
    count = sum(len(next(iter(batch.values()))) for batch in batches)
    started = time.perf_counter()
    for _ in run_all(model, batches, lambda number, _: number, config):
        pass
    runs = count / max(time.perf_counter() - started, 1e-9)
    square = np.ones((SIDE, SIDE))
    _ = square @ square
    started = time.perf_counter()
    for _ in range(8):
        _ = square @ square
    return Rates(runs, 8 * SIDE**3 / max(time.perf_counter() - started, 1e-9))


def _behind(model: ir.Model) -> list[float]:
    """For each node, which share of the multiplications comes at or after it."""
    costs = cost(model).nodes
    each = [float(costs[node.name or ""].macs) if node.name in costs else 0.0 for node in model.graph]
    total = max(sum(each), 1.0)
    return [float(share) for share in 1.0 - np.cumsum([0.0, *each])[:-1] / total]


def _layer_work(layer: linear.Layer, model: ir.Model, samples: int) -> float:
    """To score what one layer reads and to fit it."""
    if layer.columns > WIDE:
        return 0.0
    d, node = layer.columns, model.graph[layer.position]
    m = linear.weight_of(node).size / max(d * layer.groups, 1)
    rows = samples * positions_each(d, samples)
    solves = (2.5 * len(DAMPINGS) + 2.0) * d**3
    return float(layer.groups * (rows * d * (1.5 * d + PRODUCTS * m) + solves))


def _greedy(found: list[Family]) -> float:
    """To take the units of all families away one by one."""
    total = 0.0
    for family in found:
        for at in family.readers.values():
            owned = at.size
            total += min(len(family), STEPS) * owned * owned
    return total
