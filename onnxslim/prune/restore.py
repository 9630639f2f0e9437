"""Repair of a pruned model: layer by layer, in the order of the graph, towards what the original gave out there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.graph.constants import constant
from onnxslim.progress import Progress
from onnxslim.prune import layers as linear
from onnxslim.prune.gram import Moments, positions_each
from onnxslim.prune.layers import Layer
from onnxslim.prune.repair import fit
from onnxslim.prune.score import WIDE
from onnxslim.prune.walk import Walk, reads
from onnxslim.runtime.session import SessionConfig

#: Every so many samples one is held back to choose λ.
HOLD = 5
#: Ops whose output is another one when they lose input channels; all others just lose theirs.
_MIXES = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"}
    | {"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"}
)

#: tensor name -> for each of its axes the slots that were kept, None for all
Kept = Callable[[str], "tuple[np.ndarray | None, ...]"]


@dataclass(frozen=True)
class Skip:
    """A sum into which a layer's output goes and no other: output + other = total.

    A layer that is fitted to ``total`` - ``other`` makes up for the errors that the other branch (a residual stream)
    has already gathered, where one fitted to its own old output would pass them on.
    """

    total: str
    other: str


def restore(
    pruned: ir.Model,
    original: ir.Model,
    kept: Kept,
    samples: Samples,
    config: SessionConfig,
    account: Account,
    progress: Progress,
    *,
    alias: Mapping[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Fit every layer of ``pruned`` whose input has changed, in place, towards the outputs of ``original``.

    Asymmetric least squares (He et al. 2017; Frantar & Alistarh 2022): inputs X as the pruned model now computes them,
    targets Y as the original gave them out, W* = Y Xᵀ (X Xᵀ + λI)⁻¹. So each layer also repairs what those before it
    could not.

    Args:
        pruned: What is left of the original; its tensors have kept their names.
        original: The model to come back to.
        kept: Which slots of the original's tensors are left.
        samples: What both are fed with; one in five chooses λ.
        config: How they run.
        account: Counts the layers fitted; says where data were too few.
        progress: Called after each layer.
        alias: tensor of ``pruned`` -> tensor of ``original`` it stands for, where that is not the one of its name.
        seed: Of the choice of positions.
    """
    nodes, old = list(pruned.graph), {str(n.outputs[0].name): i for i, n in enumerate(original.graph) if n.outputs}
    old_nodes = list(original.graph)
    todo = [layer for layer in _changed(pruned, original) if layer.raw in old]
    new_walk, old_walk = Walk(pruned, samples, config), Walk(original, samples, config)
    ahead = [layer.position for layer in todo]
    for done, layer in enumerate(todo):
        node = nodes[layer.position]
        skip = _skip(node, layer, ahead[done + 1 :], nodes)
        target = skip.total if skip else layer.output
        target = (alias or {}).get(target, target)
        start = linear.matrix(layer, node)
        names = [layer.input, *([skip.other] if skip else [])]
        sums = [Moments(len(start), start.shape[2] - 1, start.shape[1]) for _ in range(2)]
        if start.shape[2] > WIDE:
            account.decline(layer.name, f"{start.shape[2]} columns are too many for least squares; only removed")
            continue
        each = positions_each(start.shape[2] - 1, len(samples))
        first = 0
        pairs = zip(new_walk.visit(layer.position, names), old_walk.visit(old[layer.raw], [target]), strict=True)
        for (indices, now), (_, then) in pairs:
            y = _take(then[target], kept(target))
            if skip:
                y = y - now[skip.other]
            x = now[layer.input]
            rows, targets = linear.rows(layer, node, x, y, each, first, seed)
            held = np.repeat(np.asarray(indices) % HOLD == HOLD - 1, 1) if len(indices) == len(x) else None
            _add(sums, rows, targets, held, len(x))
            first += len(x)
        _fit(layer, node, old_nodes[old[layer.raw]], sums, start, account)
        progress("repair", done + 1, len(todo))


def _add(
    sums: list[Moments], rows: np.ndarray, targets: np.ndarray | None, held: np.ndarray | None, samples: int
) -> None:
    """Add rows to the moments that fit, or, for samples held back, to those that judge."""
    if held is None:
        sums[0].add(rows, targets)
        return
    mask = np.repeat(held, rows.shape[1] // samples)
    for which, moments in ((~mask, sums[0]), (mask, sums[1])):
        if which.any():
            moments.add(rows[:, which], None if targets is None else targets[:, which])


def _fit(layer: Layer, node: ir.Node, old: ir.Node, sums: list[Moments], start: np.ndarray, account: Account) -> None:
    rows, held = sums
    if not layer.biased:
        for moments in sums:
            # Without a place for a bias the row of ones must not explain anything.
            moments.xx[:, -1, :] = moments.xx[:, :, -1] = 0.0
            moments.yx[:, :, -1] = 0.0
            moments.xx[:, -1, -1] = moments.count
    result = fit(rows, held, start)
    if rows.count < rows.columns:
        account.warnings.append(
            f"{layer.name}: {rows.count} rows for {rows.columns} columns; its least squares is regularised"
        )
    account.details.setdefault("repair", []).append(
        {"node": layer.name, "before": round(result.before, 6), "after": round(result.error, 6)}
    )
    if result.error < result.before:
        linear.assign(layer, node, result.weight)
        account.count("layers repaired")


def _changed(pruned: ir.Model, original: ir.Model) -> list[Layer]:
    """Layers whose input is not what it was, or has lost channels."""
    shapes = {
        str(node.outputs[0].name): [None if (c := constant(v)) is None else c.shape for v in node.inputs]
        for node in original.graph
        if node.outputs
    }
    known = {layer.position: layer for layer in linear.find(pruned.graph)}
    dirty: set[str] = set()
    found = []
    for position, node in enumerate(pruned.graph):
        fed = any(value.name in dirty for value in reads(node))
        now = [None if (c := constant(v)) is None else c.shape for v in node.inputs]
        before = shapes.get(str(node.outputs[0].name) if node.outputs else "")
        lost = before is None or (node.op_type in _MIXES and _inputs_lost(node, now, before))
        if fed or lost:
            dirty.update(str(value.name) for value in node.outputs)
            if position in known:
                found.append(known[position])
    return found


def _inputs_lost(node: ir.Node, now: list[tuple[int, ...] | None], before: list[tuple[int, ...] | None]) -> bool:
    """Whether a constant of ``node`` has lost slots of an axis that is summed over."""
    for new, old in zip(now, before, strict=False):
        if new is None or old is None or new == old:
            continue
        if node.op_type == "Conv":
            if new[1:] != old[1:]:
                return True
        elif len(new) > 1 or node.op_type.endswith("Normalization"):
            outputs = 0 if node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0 else len(new) - 1
            if any(n != o for axis, (n, o) in enumerate(zip(new, old, strict=True)) if axis != outputs):
                return True
    return False


def _skip(node: ir.Node, layer: Layer, ahead: list[int], nodes: list[ir.Node]) -> Skip | None:
    """The sum that ``layer`` goes into, if nothing else reads it and the other side is settled by now."""
    output = node.outputs[0]
    if layer.output != layer.raw:
        output = next(iter(output.uses()))[0].outputs[0]
    uses = output.uses()
    if len(uses) != 1 or output.is_graph_output():
        return None
    add, index = next(iter(uses))
    other = add.inputs[1 - index] if add.op_type == "Add" and len(add.inputs) == 2 else None
    if other is None or constant(other) is not None or _shape(other) != _shape(output):
        return None
    at = {n: position for position, n in enumerate(nodes)}
    waiting = set(ahead)
    stack, seen = [other], set()
    while stack:
        producer = stack.pop().producer()
        if producer is None or producer in seen or at.get(producer, -1) <= layer.position:
            continue
        if at[producer] in waiting:
            return None
        seen.add(producer)
        stack += list(reads(producer))
    return Skip(str(add.outputs[0].name), str(other.name))


def _shape(value: ir.Value) -> list[object] | None:
    return None if value.shape is None else [d if isinstance(d, int) else str(d) for d in value.shape]


def _take(array: np.ndarray, kept: tuple[np.ndarray | None, ...]) -> np.ndarray:
    for axis, index in enumerate(kept):
        if index is not None:
            array = np.take(array, index, axis=axis)
    return array
