"""Whole blocks: what leaving one out does, and how what stays takes over its work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import sum_channels
from onnxslim.activations.segment_executor import BATCH_SIZE, SegmentExecutor
from onnxslim.activations.working_set import plan_batch_size
from onnxslim.channels.removable_blocks import DroppableBlock, drop_block, find_blocks
from onnxslim.data.samples import Samples
from onnxslim.graph.signature import tap_outputs
from onnxslim.pruning.channel_groups import ChannelGroup
from onnxslim.pruning.reconstruction.layerwise import fit_takeover, output_positions
from onnxslim.pruning.reconstruction.regression_targets import find_targets
from onnxslim.pruning.statistics.second_moments import HOLDOUT_PERIOD
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig

#: Samples that a candidate is repaired with; only one or two layers are fitted.
MAX_REPAIR_SAMPLES = 128


def find_droppable(model: ir.Model, excluded: Sequence[str]) -> list[DroppableBlock]:
    """The blocks of ``model`` that may go: all but those with a node whose name is in ``excluded``."""
    names = set(excluded)
    return [block for block in find_blocks(model) if not names.intersection(block.nodes)]


def find_conflicts(
    candidates: Sequence[DroppableBlock], groups: Sequence[ChannelGroup], layers: Sequence[str] = ()
) -> list[tuple[list[int], list[int], list[int]]]:
    """For each block, which later blocks, which families and which ``layers`` (by node) cannot be cut as well.

    Two blocks that share a node or a sum exclude each other; a family or a layer that lives in a block goes with it.
    """
    nodes_inside = [set(block.nodes) for block in candidates]
    conflicts = []
    for i, (block, inside) in enumerate(zip(candidates, nodes_inside, strict=True)):
        later = range(i + 1, len(candidates))
        overlapping = [j for j in later if inside & nodes_inside[j] or block.exit == candidates[j].exit]
        inner_groups = [k for k, group in enumerate(groups) if inside.issuperset(group.nodes)]
        conflicts.append((overlapping, inner_groups, [k for k, name in enumerate(layers) if name in inside]))
    return conflicts


def drop_blocks(
    model: ir.Model, dropped: Sequence[DroppableBlock], samples: Samples | None, config: SessionConfig
) -> ir.Model:
    """``model`` without the blocks in ``dropped``.

    Where a layer before a block can take over for it (see :mod:`onnxslim.pruning.reconstruction.regression_targets`),
    nothing is left in its place; elsewhere its mean effect is.
    """
    result = model
    for block in dropped:
        without = drop_block(result, block)
        if samples is not None and not any(block.exit in target.replaced_sums for target in find_targets(without, model)):
            without = drop_block(result, block, _mean_contribution(model, block, samples, config))
        result = without
    return result


def build_block_trials(
    model: ir.Model, candidates: Sequence[DroppableBlock], samples: Samples, config: SessionConfig
) -> list[tuple[ir.Model, int]]:
    """``model`` without each of the blocks, the layer that takes over fitted to what the block gave: what is compared
    when blocks are chosen.

    Layers that take over read what they did with the block, so all are fitted in one walk through ``model``.

    Returns:
        For each block the model without it, and the position in ``model`` of the first node that is another one.
    """
    trial_models = [drop_blocks(model, [block], samples, config) for block in candidates]
    position_by_output = output_positions(model)
    position_by_name = {node.name: position for position, node in enumerate(model.graph)}
    first_changed = [min(position_by_name[name] for name in block.nodes) for block in candidates]
    takeovers = []
    for number, trial_model in enumerate(trial_models):
        for target in find_targets(trial_model, model):
            if target.replaced_sums:
                position = position_by_output[target.layer.node_output]
                first_changed[number] = min(first_changed[number], position)
                takeovers.append((position, number, target))
    repair_samples = samples.take(np.arange(samples.round_to_runs(MAX_REPAIR_SAMPLES)))
    if takeovers and len(repair_samples) >= HOLDOUT_PERIOD:
        executor = SegmentExecutor(model, repair_samples, config)
        for position, _, target in sorted(takeovers, key=lambda heir: heir[:2]):
            fit_takeover(target, executor, position)
    return list(zip(trial_models, first_changed, strict=True))


def remove_leftovers(model: ir.Model) -> None:
    """Remove, in place, what dropped blocks leave behind: Identity nodes, and a Relu of what a Relu gave."""
    for node in list(model.graph):
        if len(node.inputs) != 1 or node.outputs[0].is_graph_output() or node.inputs[0] is None:
            continue
        producer = node.inputs[0].producer()
        is_repeated_relu = producer is not None and producer.op_type == node.op_type == "Relu"
        if node.op_type == "Identity" or is_repeated_relu:
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)


def _mean_contribution(model: ir.Model, block: DroppableBlock, samples: Samples, config: SessionConfig) -> np.ndarray:
    """What ``block`` adds on average, per channel: float64 (C,)."""
    tapped = tap_outputs(model, [block.entry, block.exit], only=True)

    def sum_added(index: int, tensors: dict[str, np.ndarray]) -> np.ndarray:
        added = tensors[block.exit].astype(np.float64) - tensors[block.entry]
        return sum_channels(added, 1 if added.ndim > 3 else -1)

    batches = samples.batches(plan_batch_size(tapped, samples, BATCH_SIZE))
    count, total, _ = np.asarray(sum(run_all(tapped, batches, sum_added, config)))
    return np.asarray(total / count)
