"""Whole blocks: what leaving one out does, and how what stays takes over its work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.channels.blocks import Block, blocks, drop
from onnxslim.data.samples import Samples
from onnxslim.progress import silent
from onnxslim.prune.families import Family
from onnxslim.prune.kept import Kept
from onnxslim.prune.restore import restore
from onnxslim.prune.targets import targets
from onnxslim.prune.walk import BATCH
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


def repaired(model: ir.Model, block: Block, samples: Samples, config: SessionConfig) -> ir.Model:
    """``model`` without ``block``, its heirs fitted to what it gave: what is compared when blocks are chosen."""
    without = leave_out(model, [block], samples, config)
    some = samples.take(np.arange(min(len(samples), FEW)))
    restore(without, model, Kept(), some, config, Account("block"), silent, heirs_only=True)
    return without


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
