"""Repair of a pruned model: layer by layer, in the order of the graph, towards what the original gave out there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.progress import Progress
from onnxslim.prune import layers as linear
from onnxslim.prune.factor import structured
from onnxslim.prune.gram import HOLD, is_held, positions_each
from onnxslim.prune.layers import Layer
from onnxslim.prune.lowrank import Form
from onnxslim.prune.repair import fit, match
from onnxslim.prune.rows import Rows
from onnxslim.prune.score import WIDE
from onnxslim.prune.targets import Target, targets
from onnxslim.prune.walk import Walk
from onnxslim.runtime.session import SessionConfig

#: tensor name -> for each of its axes the slots that were kept, None for all
Kept = Callable[[str], "tuple[np.ndarray | None, ...]"]


def restore(
    pruned: ir.Model,
    original: ir.Model,
    kept: Kept,
    samples: Samples,
    config: SessionConfig,
    account: Account,
    progress: Progress,
    *,
    forms: Mapping[str, Form] | None = None,
    seed: int = 0,
) -> None:
    """Fit every layer of ``pruned`` whose input has changed, in place, towards the outputs of ``original``.

    Asymmetric least squares (He et al. 2017; Frantar & Alistarh 2022): inputs X as the pruned model now computes them,
    targets Y as the original gave them out, W* = Y Xᵀ (X Xᵀ + λI)⁻¹. So each layer also repairs what those before it
    could not. What exactly is compared is in :mod:`onnxslim.prune.targets`.

    Args:
        pruned: What is left of the original; its tensors have kept their names.
        original: The model to come back to.
        kept: Which slots of the original's tensors are left.
        samples: What both are fed with; one in five chooses λ.
        config: How they run.
        account: Counts the layers fitted; says where data were too few.
        progress: Called after each layer.
        forms: Layers (:attr:`Layer.raw`) whose weights have to end up in a cheaper form.
        seed: Of the choice of positions.
    """
    if len(samples) < HOLD:
        account.warnings.append(f"{len(samples)} samples: repair needs at least {HOLD}, of which one is held back")
        return
    nodes = list(pruned.graph)
    place = places(original)
    todo = targets(pruned, original, forms or ())
    new_walk = Walk(pruned, samples, config)
    old_walk = Walk(original, samples, config, like=new_walk)
    for done, target in enumerate(todo):
        layer, node = target.layer, nodes[target.layer.position]
        new = new_walk.visit(layer.position, target.given)
        old = old_walk.visit(place[layer.raw], [target.tensor])
        seen = ((indices, now, then[target.tensor]) for (indices, now), (_, then) in zip(new, old, strict=True))
        form = (forms or {}).get(layer.raw)
        _refit(target, node, seen, kept(target.tensor), len(samples), account, form, seed)
        progress("repair", done + 1, len(todo))


def take_over(without: ir.Model, target: Target, walk: Walk, position: int) -> None:
    """Fit one layer of a model without a block to what the block gave, in place.

    Args:
        without: The model without the block.
        target: One of its layers; what it reads is as it was with the block.
        walk: Through the model with the block.
        position: Of the layer there.
    """
    names = [*target.given, target.tensor]
    seen = ((indices, found, found[target.tensor]) for indices, found in walk.visit(position, names))
    node = list(without.graph)[target.layer.position]
    _refit(target, node, seen, (), walk.samples, Account("block"), None, 0)


def places(model: ir.Model) -> dict[str, int]:
    """The first output of each node -> the node's position."""
    return {str(node.outputs[0].name): position for position, node in enumerate(model.graph) if node.outputs}


def _refit(
    target: Target,
    node: ir.Node,
    seen: Iterable[tuple[range, Mapping[str, np.ndarray], np.ndarray]],
    kept: tuple[np.ndarray | None, ...],
    samples: int,
    account: Account,
    form: Form | None,
    seed: int,
) -> None:
    """Fit one layer, whose node is ``node``, to what was ``seen``: (samples, what there is now, what there was)."""
    layer = target.layer
    start = linear.matrix(layer, node)
    each = positions_each(layer.columns, samples)
    parts: list[tuple[np.ndarray, list[np.ndarray], np.ndarray]] = []
    first = 0
    for indices, now, then in seen:
        x = now[layer.input]
        outputs = [_take(then, kept), *(now[name] for name in target.given[1:])]
        found, picked = linear.rows(layer, node, x, outputs, each, first, seed)
        parts.append((found, picked, is_held(indices, found.shape[1])))
        first += len(x)
    rows, held = _rows(parts, linear.flat(target.result), layer.biased)
    parts.clear()
    _fit(layer, node, rows, held, start, account, form)


def _rows(
    parts: list[tuple[np.ndarray, list[np.ndarray], np.ndarray]], bounds: tuple[float, float], biased: bool
) -> tuple[Rows, Rows]:
    """The rows of all batches: those to fit on and those held back. Where there is a sum, the other side is taken off."""
    held = np.concatenate([part[2] for part in parts])
    x = np.concatenate([part[0] for part in parts], axis=1)
    y, *others = (np.concatenate([part[1][k] for part in parts], axis=1) for k in range(len(parts[0][1])))
    if others:
        y = y - others[0]

    def bound(edge: float, which: np.ndarray) -> np.ndarray | float:
        return edge - others[0][:, which] if others and np.isfinite(edge) else edge

    low, high = bounds
    fitted, judged = (
        Rows(x[:, which], y[:, which], bound(low, which), bound(high, which), biased) for which in (~held, held)
    )
    return fitted, judged


def _fit(
    layer: Layer,
    node: ir.Node,
    rows: Rows,
    held: Rows,
    start: np.ndarray,
    account: Account,
    form: Form | None,
) -> None:
    if rows.columns > WIDE:
        account.decline(
            layer.name, f"{rows.columns} columns are too many for least squares; only its means are repaired"
        )
    result = fit(rows, held, start) if rows.columns <= WIDE else match(rows, held, start)
    if form is not None:
        both = rows.moments() + held.moments()
        weight = structured(layer, node, form, result.weight, both.xx[0] / max(both.count, 1))
        result = replace(result, weight=weight, error=held.error(weight) / max(held.moments().variance(), 1e-300))
    if len(rows) < rows.columns:
        account.warnings.append(
            f"{layer.name}: {len(rows)} rows for {rows.columns} columns; its least squares is regularised"
        )
    account.details.setdefault("repair", []).append(
        {
            "node": layer.name,
            "before": float(f"{result.before:.4g}"),
            "after": float(f"{result.error:.4g}"),
            "damping": result.damping,
            "rescaled": result.rescaled,
        }
    )
    if form is not None or result.error < result.before:
        linear.assign(layer, node, result.weight)
        account.count("layers repaired")


def _take(array: np.ndarray, kept: tuple[np.ndarray | None, ...]) -> np.ndarray:
    for axis, index in enumerate(kept):
        if index is not None:
            array = np.take(array, index, axis=axis)
    return array
