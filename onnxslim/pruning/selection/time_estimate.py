"""How long a prune step with data will take, told before it begins.

The step runs samples and multiplies matrices, so its time is two counts over two rates: inferences of the whole model,
and arithmetic of the least squares. The counts follow from the model and the number of samples; the rates are measured on
the spot, which takes a second or less.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.segment_executor import BATCH_SIZE
from onnxslim.activations.working_set import plan_batch_size
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.removable_blocks import find_blocks
from onnxslim.core.errors import OnnxslimError
from onnxslim.data.samples import Samples
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.pruning.block_dropping import MAX_REPAIR_SAMPLES
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.error_curves import EFFECT_LEVELS, MAX_GRAM_COLUMNS
from onnxslim.pruning.statistics.layer_moments import OBS_DAMPINGS
from onnxslim.pruning.statistics.obs import STEPS_TO_HALVE
from onnxslim.pruning.statistics.second_moments import HOLDOUT_PERIOD, positions_per_sample
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig

#: Runs of all samples: to score, and to repair through the old and the new model, early layers twice.
FULL_PASSES = 4.5
#: Products of a layer's rows with its weight while it is fitted: dampings, sweeps and corrections.
FIT_PRODUCTS = 24
#: Side of the product that the rate of arithmetic is measured by.
BENCHMARK_SIDE = 384


@dataclass(frozen=True)
class PruneWorkload:
    """What a prune step does.

    Attributes:
        runs: Inferences of the whole model on one sample.
        macs: Multiply-accumulates of scores and repairs.
    """

    runs: float
    macs: float


@dataclass(frozen=True)
class MachineRates:
    """What this machine does in a second: inferences of one sample, on all cores; multiply-accumulates, on one."""

    runs: float
    macs: float


def predict_seconds(model: model_file.ModelLike, samples: Samples, config: SessionConfig | None = None) -> float:
    """Seconds that :func:`onnxslim.pruning.step.prune` will take with these samples; 0 where that cannot be told."""
    try:
        loaded = model_file.load(model)
        workload, rate = estimate_workload(loaded, len(samples)), measure_rates(loaded, samples, config or SessionConfig())
    except OnnxslimError:
        return 0.0
    return workload.runs / rate.runs + workload.macs / rate.macs


def estimate_workload(model: ir.Model, samples: int) -> PruneWorkload:
    """What pruning ``model`` with so many samples comes to."""
    named_model = model_file.clone(model)
    name_nodes(named_model.graph)
    groups, blocks = find_channel_groups(analyze_channels(named_model, lossy=True)), find_blocks(named_model)
    remaining_shares = _remaining_shares(named_model)
    held_out = max(samples // HOLDOUT_PERIOD, 1)
    runs = FULL_PASSES * samples + (min(samples, MAX_REPAIR_SAMPLES) + 0.5 * held_out) * bool(blocks)
    runs += sum(
        min(len(EFFECT_LEVELS), len(group)) * held_out * remaining_shares[min(group.first_node, len(remaining_shares) - 1)]
        for group in groups
    )
    runs += 0.5 * held_out * len(blocks)
    macs = sum(_layer_macs(layer, samples) for layer in find_linear_layers(named_model.graph).values())
    for group in groups:  # to take their units away one by one
        macs += sum(min(len(group), STEPS_TO_HALVE) * slots.size**2 for slots in group.readers.values())
    return PruneWorkload(runs, macs)


def measure_rates(model: ir.Model, samples: Samples, config: SessionConfig) -> MachineRates:
    """What this machine does in a second, measured now."""
    batch_size = plan_batch_size(model, samples, BATCH_SIZE)
    batches = list(itertools.islice(samples.batches(batch_size), math.ceil(2 * BATCH_SIZE / batch_size)))
    count = sum(len(batch.indices) for batch in batches)
    started = time.perf_counter()
    for _ in run_all(model, map(dict, batches), lambda number, _: number, config):
        pass
    runs = count / max(time.perf_counter() - started, 1e-9)
    square = np.ones((BENCHMARK_SIDE, BENCHMARK_SIDE))
    _ = square @ square
    started = time.perf_counter()
    for _ in range(8):
        _ = square @ square
    return MachineRates(runs, 8 * BENCHMARK_SIDE**3 / max(time.perf_counter() - started, 1e-9))


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
    solves = (2.5 * len(OBS_DAMPINGS) + 2.0) * d**3
    return float(layer.groups * (rows * d * (1.5 * d + FIT_PRODUCTS * m) + solves))
