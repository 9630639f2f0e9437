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
from onnxslim.prune.gram import HOLD, is_held, positions_each
from onnxslim.prune.layers import Layer
from onnxslim.prune.repair import Rows, fit
from onnxslim.prune.score import WIDE
from onnxslim.prune.walk import Walk, reads
from onnxslim.runtime.session import SessionConfig

#: Ops whose output is another one when they lose input channels; all others just lose theirs.
_MIXES = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"}
    | {"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"}
)

#: tensor name -> for each of its axes the slots that were kept, None for all
Kept = Callable[[str], "tuple[np.ndarray | None, ...]"]


@dataclass(frozen=True)
class Skip:
    """A sum into which a layer's output goes, and nowhere else: output + other = total.

    A layer that is fitted to total - ``other`` makes up for the errors that the other branch (a residual stream)
    has already gathered, where one fitted to its own old output would pass them on.
    """

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
    if len(samples) < HOLD:
        account.warnings.append(f"{len(samples)} samples: repair needs at least {HOLD}, of which one is held back")
        return
    nodes, old = list(pruned.graph), {str(n.outputs[0].name): i for i, n in enumerate(original.graph) if n.outputs}
    todo = [layer for layer in _changed(pruned, original) if layer.raw in old]
    new_walk, old_walk = Walk(pruned, samples, config), Walk(original, samples, config)
    ahead = [layer.position for layer in todo]
    for done, layer in enumerate(todo):
        node = nodes[layer.position]
        start = linear.matrix(layer, node)
        if start.shape[2] > WIDE:
            account.decline(layer.name, f"{start.shape[2]} columns are too many for least squares; only removed")
            continue
        skip = _skip(node, layer, ahead[done + 1 :], nodes)
        result = _result(node, layer, skip)
        target = (alias or {}).get(str(result.name), str(result.name))
        names = [layer.input, *([skip.other] if skip else [])]
        each = positions_each(start.shape[2] - 1, len(samples))
        parts: list[tuple[np.ndarray, list[np.ndarray], np.ndarray]] = []
        first = 0
        pairs = zip(new_walk.visit(layer.position, names), old_walk.visit(old[layer.raw], [target]), strict=True)
        for (indices, now), (_, then) in pairs:
            y = _take(then[target], kept(target))
            outputs = [y, now[skip.other]] if skip else [y]
            x, picked = linear.rows(layer, node, now[layer.input], outputs, each, first, seed)
            parts.append((x, picked, is_held(indices, x.shape[1])))
            first += len(now[layer.input])
        rows, held = _rows(parts, linear.flat(result), layer.biased)
        _fit(layer, node, rows, held, start, account)
        progress("repair", done + 1, len(todo))


def _rows(
    parts: list[tuple[np.ndarray, list[np.ndarray], np.ndarray]], bounds: tuple[float, float], biased: bool
) -> tuple[Rows, Rows]:
    """The rows of all batches: those to fit on and those held back. Where there is a sum, the other side is taken off."""
    held = np.concatenate([part[2] for part in parts])
    x = np.concatenate([part[0] for part in parts], axis=1)
    y, *others = (np.concatenate([part[1][k] for part in parts], axis=1) for k in range(len(parts[0][1])))
    low, high = bounds
    if not others:
        return Rows(x[:, ~held], y[:, ~held], low, high, biased), Rows(x[:, held], y[:, held], low, high, biased)
    y = y - others[0]

    def less(bound: float, which: np.ndarray) -> np.ndarray | float:
        return bound - others[0][:, which] if np.isfinite(bound) else bound

    fitted, judged = (
        Rows(x[:, which], y[:, which], less(low, which), less(high, which), biased) for which in (~held, held)
    )
    return fitted, judged


def _fit(layer: Layer, node: ir.Node, rows: Rows, held: Rows, start: np.ndarray, account: Account) -> None:
    result = fit(rows, held, start)
    if rows.x.shape[1] < rows.x.shape[2]:
        account.warnings.append(
            f"{layer.name}: {rows.x.shape[1]} rows for {rows.x.shape[2]} columns; its least squares is regularised"
        )
    account.details.setdefault("repair", []).append(
        {
            "node": layer.name,
            "before": float(f"{result.before:.4g}"),
            "after": float(f"{result.error:.4g}"),
            "damping": result.damping,
        }
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


def _result(node: ir.Node, layer: Layer, skip: Skip | None) -> ir.Value:
    """What the layer is fitted to: its output, after its bias and the sum it goes into."""
    value = node.outputs[0]
    if layer.output != layer.raw:
        value = next(iter(value.uses()))[0].outputs[0]
    return next(iter(value.uses()))[0].outputs[0] if skip else value


def _skip(node: ir.Node, layer: Layer, ahead: list[int], nodes: list[ir.Node]) -> Skip | None:
    """The sum that ``layer`` goes into, if nothing else reads it and the other side is settled by now."""
    output = _result(node, layer, None)
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
    return Skip(str(other.name))


def _shape(value: ir.Value) -> list[object] | None:
    return None if value.shape is None else [d if isinstance(d, int) else str(d) for d in value.shape]


def _take(array: np.ndarray, kept: tuple[np.ndarray | None, ...]) -> np.ndarray:
    for axis, index in enumerate(kept):
        if index is not None:
            array = np.take(array, index, axis=axis)
    return array
