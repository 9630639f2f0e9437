"""What a layer reads, as moments: streamed from a walk, some samples held back."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.pruning import linear_layers as linear
from onnxslim.pruning.linear_layers import LinearLayer
from onnxslim.pruning.statistics.obs import choose_damping, damped_inverse
from onnxslim.pruning.statistics.second_moments import SecondMoments, holdout_mask, positions_per_sample

#: λ of the inverse Gram matrices, over their mean diagonal: where nothing is held back, and to choose from.
DEFAULT_DAMPING = 1e-4
OBS_DAMPINGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def collect_moments(
    layer: LinearLayer, node: ir.Node, executor: SegmentExecutor, seed: int
) -> tuple[SecondMoments, SecondMoments]:
    """Moments of the rows that ``layer`` reads: of the samples to fit on, and of those held back."""
    fitted, held_out = (SecondMoments(layer.groups, layer.columns) for _ in range(2))
    per_sample = positions_per_sample(layer.columns, executor.sample_count)
    first_sample = 0
    for indices, tensors in executor.run_segment(layer.position, [layer.input]):
        rows, _ = linear.sample_rows(layer, node, tensors[layer.input], [], per_sample, first_sample, seed)
        held_mask = holdout_mask(indices, rows.shape[1])
        fitted.add(rows[:, ~held_mask])
        held_out.add(rows[:, held_mask])
        first_sample += len(tensors[layer.input])
    return fitted, held_out


def invert_moments(fitted: SecondMoments, held_out: SecondMoments) -> np.ndarray:
    """(H + λI)⁻¹ of each group, H per row of data, λ chosen on the rows held back: float64 (g, d + 1, d + 1)."""
    mean = fitted.xx / max(fitted.count, 1)
    held_mean = held_out.xx / max(held_out.count, 1)
    return np.stack(
        [
            damped_inverse(h, choose_damping(h, u, OBS_DAMPINGS) if held_out.count else DEFAULT_DAMPING)
            for h, u in zip(mean, held_mean, strict=True)
        ]
    )
