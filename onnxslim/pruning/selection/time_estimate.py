"""How long a prune step with data will take, told before it begins.

The step runs samples, multiplies matrices and opens sessions, so its time is three counts over three rates: inferences of
the whole model, arithmetic of the least squares, and models that are tried. The counts follow from the model and the number
of samples; the rates are measured on the spot, which takes a second or less.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.segment_executor import BATCH_SIZE
from onnxslim.activations.working_set import plan_batch_size
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.removable_blocks import DroppableBlock, find_blocks
from onnxslim.core.errors import OnnxslimError
from onnxslim.data.samples import Batch, Samples
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.pruning.block_dropping import MAX_REPAIR_SAMPLES
from onnxslim.pruning.channel_groups import ChannelGroup, find_channel_groups
from onnxslim.pruning.importance.error_curves import EFFECT_LEVELS, MAX_GRAM_COLUMNS
from onnxslim.pruning.reconstruction.fold_moments import count_judges
from onnxslim.pruning.selection.survey import MAX_EVALUATION_SAMPLES
from onnxslim.pruning.statistics.layer_moments import OBS_DAMPINGS
from onnxslim.pruning.statistics.obs import STEPS_TO_HALVE
from onnxslim.pruning.statistics.second_moments import HOLDOUT_PERIOD, positions_per_sample
from onnxslim.runtime.parallel import SessionPool
from onnxslim.runtime.session import SessionConfig

#: Runs of all samples: to score, and to repair through the old and the new model, early layers twice.
FULL_PASSES = 4.5
#: Products of a layer's rows with its weight while it is fitted: dampings, sweeps and corrections.
FIT_PRODUCTS = 24
#: Cubes of a layer's columns while it is fitted, for each fold that judges: normal equations under some seven dampings.
CUBES_PER_JUDGE = 2.4
#: Seconds of a batch that is not run again to know them better.
_LONG_BATCH = 0.5
#: Side of the product that the rate of arithmetic is measured by.
BENCHMARK_SIDE = 384


@dataclass(frozen=True)
class PruneWorkload:
    """What a prune step does.

    Attributes:
        runs: Inferences of the whole model on one sample.
        macs: Multiply-accumulates of scores and repairs.
        openings: Models that are opened to be tried, each about a half of the whole one.
    """

    runs: float
    macs: float
    openings: float = 0.0


@dataclass(frozen=True)
class MachineRates:
    """What this machine does in a second: inferences of one sample, on all cores; multiply-accumulates, on one; openings of
    the whole model.
    """

    runs: float
    macs: float
    openings: float = math.inf


class PruneForecast:
    """Seconds that :func:`onnxslim.pruning.step.prune` will take, by how many of the samples it uses.

    Args:
        model: What is going to be pruned.
        samples: All there are.
        config: Where it runs.
    """

    def __init__(self, model: ir.Model, samples: Samples, config: SessionConfig) -> None:
        try:
            self._prunable, self._rates = find_prunable(model), measure_rates(model, samples, config)
        except OnnxslimError:
            self._rates = MachineRates(math.inf, math.inf)

    def predict_seconds(self, count: int) -> float:
        """With ``count`` samples; 0 where it cannot be told."""
        if math.isinf(self._rates.runs):
            return 0.0
        workload, rates = estimate_workload(self._prunable, count), self._rates
        return workload.runs / rates.runs + workload.macs / rates.macs + 0.5 * workload.openings / rates.openings


@dataclass(frozen=True)
class Prunable:
    """What a prune step works on.

    Attributes:
        groups: Families of channels.
        blocks: Branches that may be left out.
        layers: Those with weights.
        remaining_shares: For each node, which share of the multiplications comes at or after it.
    """

    groups: Sequence[ChannelGroup]
    blocks: Sequence[DroppableBlock]
    layers: Sequence[LinearLayer]
    remaining_shares: Sequence[float]


def find_prunable(model: ir.Model) -> Prunable:
    """What a prune step finds in ``model``."""
    named_model = model_file.clone(model)
    name_nodes(named_model.graph)
    groups, blocks = find_channel_groups(analyze_channels(named_model, lossy=True)), find_blocks(named_model)
    layers = list(find_linear_layers(named_model.graph).values())
    return Prunable(groups, blocks, layers, _remaining_shares(named_model))


def estimate_workload(prunable: Prunable, samples: int) -> PruneWorkload:
    """What pruning with so many samples comes to."""
    groups, blocks, remaining_shares = prunable.groups, prunable.blocks, prunable.remaining_shares
    held_out = min(max(samples // HOLDOUT_PERIOD, 1), MAX_EVALUATION_SAMPLES)
    runs = FULL_PASSES * samples + (min(samples, MAX_REPAIR_SAMPLES) + 0.5 * held_out) * bool(blocks)
    levels = [min(len(EFFECT_LEVELS), len(group)) for group in groups]
    runs += sum(
        count * held_out * remaining_shares[min(group.first_node, len(remaining_shares) - 1)]
        for count, group in zip(levels, groups, strict=True)
    )
    runs += 0.5 * held_out * len(blocks)
    macs = sum(_layer_macs(layer, samples) for layer in prunable.layers)
    for group in groups:  # to take their units away one by one
        macs += sum(min(len(group), STEPS_TO_HALVE) * slots.size**2 for slots in group.readers.values())
    return PruneWorkload(runs, macs, sum(levels) + len(blocks))


def measure_rates(model: ir.Model, samples: Samples, config: SessionConfig) -> MachineRates:
    """What this machine does in a second, measured now; opening is no part of a run."""
    batch_size = plan_batch_size(model, samples, BATCH_SIZE)
    batches = list(itertools.islice(samples.batches(batch_size), math.ceil(2 * BATCH_SIZE / batch_size)))
    started = time.perf_counter()
    pool, timed = SessionPool(model, config), batches[:1]
    openings = 1 / max(time.perf_counter() - started, 1e-9)
    seconds = _time_batches(pool, timed)
    if seconds < _LONG_BATCH:  # the first run of short ones allocates for most of its time
        timed = batches
        seconds = _time_batches(pool, timed)
    count = sum(len(batch.indices) for batch in timed)
    square = np.ones((BENCHMARK_SIDE, BENCHMARK_SIDE))
    _ = square @ square
    started = time.perf_counter()
    for _ in range(8):
        _ = square @ square
    macs = 8 * BENCHMARK_SIDE**3 / max(time.perf_counter() - started, 1e-9)
    return MachineRates(count / seconds, macs, openings)


def _time_batches(pool: SessionPool, batches: Sequence[Batch]) -> float:
    """Seconds that ``batches`` take."""
    started = time.perf_counter()
    for _ in pool.run(map(dict, batches), lambda number, _: number):
        pass
    return max(time.perf_counter() - started, 1e-9)


def _remaining_shares(model: ir.Model) -> list[float]:
    """For each node, which share of the multiplications comes at or after it."""
    costs = compute_cost(model).nodes
    node_macs = [float(costs[node.name or ""].macs) if node.name in costs else 0.0 for node in model.graph]
    total = max(sum(node_macs), 1.0)
    return [float(share) for share in 1.0 - np.cumsum([0.0, *node_macs])[:-1] / total]


def _layer_macs(layer: LinearLayer, samples: int) -> float:
    """Multiply-accumulates to score what one layer reads and to fit it."""
    if layer.columns > MAX_GRAM_COLUMNS:
        return 0.0
    d = layer.columns
    m = layer.weight.size / max(d * layer.groups, 1)
    rows = samples * positions_per_sample(d, samples, layer.groups)
    judges = count_judges(layer.groups, d, int(m), HOLDOUT_PERIOD)
    solves = (2.5 * len(OBS_DAMPINGS) + CUBES_PER_JUDGE * judges) * d**3
    return float(layer.groups * (rows * d * (1.5 * d + FIT_PRODUCTS * m) + solves))
