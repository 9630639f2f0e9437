"""Whole blocks: what leaving one out does, and how what stays takes over its work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.channels.blocks import Block, blocks, drop
from onnxslim.data.samples import Samples
from onnxslim.prune.families import Family
from onnxslim.prune.gram import HOLD
from onnxslim.prune.restore import places, take_over
from onnxslim.prune.targets import targets
from onnxslim.prune.walk import BATCH, Walk
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.taps import tap

#: Samples that a candidate is repaired with; only one or two layers are fitted.
FEW = 128


def droppable(model: ir.Model, refused: Sequence[str]) -> list[Block]:
    """The blocks of ``model`` that may go: all but those with a node whose name is in ``refused``."""
    names = set(refused)
    return [block for block in blocks(model) if not names.intersection(block.nodes)]


def conflicts(
    found: Sequence[Block], families: Sequence[Family], layers: Sequence[str] = ()
) -> list[tuple[list[int], list[int], list[int]]]:
    """For each block, which later blocks, which families and which ``layers`` (by node) cannot be cut as well.

    Two blocks that share a node or a sum exclude each other; a family or a layer that lives in a block goes with it.
    """
    inside = [set(block.nodes) for block in found]
    return [
        (
            [j for j in range(i + 1, len(found)) if inside[i] & inside[j] or block.exit == found[j].exit],
            [k for k, family in enumerate(families) if inside[i].issuperset(family.nodes)],
            [k for k, name in enumerate(layers) if name in inside[i]],
        )
        for i, block in enumerate(found)
    ]


def leave_out(model: ir.Model, out: Sequence[Block], samples: Samples | None, config: SessionConfig) -> ir.Model:
    """``model`` without the blocks in ``out``.

    Where a layer before a block can take over for it (see :mod:`onnxslim.prune.targets`), nothing is left in its place;
    elsewhere its mean effect is.
    """
    result = model
    for block in out:
        without = drop(result, block)
        if samples is not None and not any(block.exit in target.takes_over for target in targets(without, model)):
            without = drop(result, block, _mean_effect(model, block, samples, config))
        result = without
    return result


def repaired(
    model: ir.Model, found: Sequence[Block], samples: Samples, config: SessionConfig
) -> list[tuple[ir.Model, int]]:
    """``model`` without each of the blocks, its heir fitted to what it gave: what is compared when blocks are chosen.

    Layers that take over read what they did with the block, so all are fitted in one walk through ``model``.

    Returns:
        For each block the model without it, and the position in ``model`` of the first node that is another one.
    """
    without = [leave_out(model, [block], samples, config) for block in found]
    place, named = places(model), {node.name: position for position, node in enumerate(model.graph)}
    first = [min(named[name] for name in block.nodes) for block in found]
    heirs = []
    for number, other in enumerate(without):
        for target in targets(other, model):
            if target.takes_over:
                position = place[target.layer.raw]
                first[number] = min(first[number], position)
                heirs.append((position, number, target))
    some = samples.take(np.arange(min(len(samples), FEW)))
    if heirs and len(some) >= HOLD:
        walk = Walk(model, some, config)
        for position, number, target in sorted(heirs, key=lambda heir: heir[:2]):
            take_over(without[number], target, walk, position)
    return list(zip(without, first, strict=True))


def tidy(model: ir.Model) -> None:
    """Remove, in place, what dropped blocks leave behind: Identity nodes, and a Relu of what a Relu gave."""
    for node in list(model.graph):
        if len(node.inputs) != 1 or node.outputs[0].is_graph_output() or node.inputs[0] is None:
            continue
        before = node.inputs[0].producer()
        again = before is not None and before.op_type == node.op_type == "Relu"
        if node.op_type == "Identity" or again:
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)


def _mean_effect(model: ir.Model, block: Block, samples: Samples, config: SessionConfig) -> np.ndarray:
    """What ``block`` adds on average, per channel: float64 (C,)."""
    session = Session(tap(model, [block.entry, block.exit], only=True), config)
    total: np.ndarray | None = None
    count = 0
    for batch in samples.batches(BATCH):
        found = session.run({name: batch[name] for name in session.inputs})
        added = found[block.exit].astype(np.float64) - found[block.entry]
        rows = np.moveaxis(added, 1 if added.ndim > 3 else -1, 0)
        rows = rows.reshape(len(rows), -1)
        total = rows.sum(axis=1) + (0.0 if total is None else total)
        count += rows.shape[1]
    return np.zeros(1) if total is None else total / count
