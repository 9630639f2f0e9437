"""Repair of a pruned model: layer by layer, in the order of the graph, towards what the original gave out there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from onnxslim.prune.repair import Rows, fit
from onnxslim.prune.score import WIDE
from onnxslim.prune.targets import targets
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
    heirs_only: bool = False,
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
        heirs_only: Fit only the layers that take over for a dropped block.
        seed: Of the choice of positions.
    """
    if len(samples) < HOLD:
        account.warnings.append(f"{len(samples)} samples: repair needs at least {HOLD}, of which one is held back")
        return
    nodes = list(pruned.graph)
    place = {str(node.outputs[0].name): position for position, node in enumerate(original.graph) if node.outputs}
    todo = [target for target in targets(pruned, original, forms or ()) if target.takes_over or not heirs_only]
    new_walk, old_walk = Walk(pruned, samples, config), Walk(original, samples, config)
    for done, target in enumerate(todo):
        layer, node = target.layer, nodes[target.layer.position]
        start = linear.matrix(layer, node)
        if start.shape[2] > WIDE:
            account.decline(layer.name, f"{start.shape[2]} columns are too many for least squares; only removed")
            continue
        each = positions_each(start.shape[2] - 1, len(samples))
        now_names = [layer.input, *([target.other] if target.other is not None else [])]
        parts: list[tuple[np.ndarray, list[np.ndarray], np.ndarray]] = []
        first = 0
        new, old = new_walk.visit(layer.position, now_names), old_walk.visit(place[layer.raw], [target.tensor])
        for (indices, now), (_, then) in zip(new, old, strict=True):
            y = _take(then[target.tensor], kept(target.tensor))
            outputs = [y, *(now[name] for name in now_names[1:])]
            x, picked = linear.rows(layer, node, now[layer.input], outputs, each, first, seed)
            parts.append((x, picked, is_held(indices, x.shape[1])))
            first += len(now[layer.input])
        rows, held = _rows(parts, linear.flat(target.result), layer.biased)
        _fit(layer, node, rows, held, start, account, (forms or {}).get(layer.raw))
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


def _fit(
    layer: Layer,
    node: ir.Node,
    rows: Rows,
    held: Rows,
    start: np.ndarray,
    account: Account,
    form: Form | None,
) -> None:
    result = fit(rows, held, start)
    if form is not None:
        both = rows.moments() + held.moments()
        weight = structured(layer, node, form, result.weight, both.xx[0] / max(both.count, 1))
        result = replace(result, weight=weight, error=held.error(weight) / max(held.moments().variance(), 1e-300))
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
    if form is not None or result.error < result.before:
        linear.assign(layer, node, result.weight)
        account.count("layers repaired")


def _take(array: np.ndarray, kept: tuple[np.ndarray | None, ...]) -> np.ndarray:
    for axis, index in enumerate(kept):
        if index is not None:
            array = np.take(array, index, axis=axis)
    return array
