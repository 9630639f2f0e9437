"""What a layer reads, as moments: streamed from a walk, some samples held back."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.prune import layers as linear
from onnxslim.prune.gram import Moments, is_held, positions_each
from onnxslim.prune.layers import Layer
from onnxslim.prune.obs import choose_damping, damped_inverse
from onnxslim.prune.walk import Walk

#: λ of the inverse Gram matrices, over their mean diagonal: where nothing is held back, and to choose from.
DAMPING = 1e-4
DAMPINGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def inputs_of(layer: Layer, node: ir.Node, walk: Walk, seed: int) -> tuple[Moments, Moments]:
    """Moments of the rows that ``layer`` reads: of the samples to fit on, and of those held back."""
    fitted, held = (Moments(layer.groups, layer.columns) for _ in range(2))
    each = positions_each(layer.columns, walk.samples)
    first = 0
    for indices, found in walk.visit(layer.position, [layer.input]):
        rows, _ = linear.rows(layer, node, found[layer.input], [], each, first, seed)
        unseen = is_held(indices, rows.shape[1])
        fitted.add(rows[:, ~unseen])
        held.add(rows[:, unseen])
        first += len(found[layer.input])
    return fitted, held


def inverse_of(fitted: Moments, held: Moments) -> np.ndarray:
    """(H + λI)⁻¹ of each group, H per row of data, λ chosen on the rows held back: float64 (g, d + 1, d + 1)."""
    mean = fitted.xx / max(fitted.count, 1)
    unseen = held.xx / max(held.count, 1)
    return np.stack(
        [
            damped_inverse(h, choose_damping(h, u, DAMPINGS) if held.count else DAMPING)
            for h, u in zip(mean, unseen, strict=True)
        ]
    )
