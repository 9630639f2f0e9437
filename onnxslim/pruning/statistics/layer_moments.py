"""What a layer reads, as rows and as moments: streamed from a walk, some samples held back."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np

from onnxslim.activations.read_places import expand_places
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.graph.conv_geometry import prepare_input
from onnxslim.graph.im2col import unfold
from onnxslim.graph.layers import CONV_OPS, LinearLayer
from onnxslim.pruning.statistics.obs import choose_damping, damped_inverse
from onnxslim.pruning.statistics.second_moments import SecondMoments, holdout_mask, positions_per_sample, sample_positions

#: λ of the inverse Gram matrices, over their mean diagonal: where nothing is held back, and to choose from.
DEFAULT_DAMPING = 1e-4
OBS_DAMPINGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def collect_moments(
    layer: LinearLayer, position: int, executor: SegmentExecutor, seed: int
) -> tuple[SecondMoments, SecondMoments]:
    """Moments of the rows that ``layer``, the node at ``position``, reads: of the samples to fit on, and of those held
    back.
    """
    fitted, held_out = (SecondMoments(layer.groups, layer.columns) for _ in range(2))
    per_sample = positions_per_sample(layer.columns, executor.sample_count, layer.groups)
    first_sample = 0
    for indices, tensors in executor.run_segment(position, [layer.input]):
        read = executor.find_read(indices)
        rows, _ = sample_rows(layer, tensors[layer.input], [], per_sample, first_sample, seed, read=read)
        held_mask = holdout_mask(indices, rows.shape[1])
        fitted.add(rows[:, ~held_mask])
        held_out.add(rows[:, held_mask])
        first_sample += len(tensors[layer.input])
    return fitted, held_out


def sample_rows(
    layer: LinearLayer,
    x: np.ndarray,
    outputs: Sequence[np.ndarray],
    per_sample: int,
    first_sample: int,
    seed: int,
    *,
    read: np.ndarray | None = None,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows of inputs and, at the same positions, of tensors shaped like the layer's output.

    Args:
        layer: The layer.
        x: What the layer reads, (n, …).
        outputs: Tensors like what it gives out, (n, …).
        per_sample: Positions to keep of every sample.
        first_sample: How many samples came before, so that batches go on where the last one stopped.
        seed: Of the choice of positions.
        read: Which places of each sample anybody reads, bool (n, places); rows of others are NaN, and nothing is fitted
            to these.

    Returns:
        (g, n · p, d), and (g, n · p, m) for each of ``outputs``.
    """
    rng_seed = [seed, zlib.crc32(layer.node_output.encode())]
    if layer.op in CONV_OPS:
        x, window = prepare_input(layer.node, x)
        size = int(np.prod(window.output_shape(x.shape[2:])))
        sampled_positions = sample_positions(size, per_sample, first_sample, len(x), rng_seed)
        patches = unfold(x, window, sampled_positions)
        output_rows = [
            np.take_along_axis(y.reshape(*y.shape[:2], size), sampled_positions[:, None, :], axis=2).transpose(0, 2, 1)
            for y in outputs
        ]
    else:
        flat = _flatten_positions(x)
        is_read = expand_places(read, x.shape)
        sampled_positions = sample_positions(flat.shape[1], per_sample, first_sample, len(flat), rng_seed, read=is_read)
        patches = np.take_along_axis(flat, sampled_positions[..., None], axis=1)
        if is_read is not None:
            patches[~np.take_along_axis(is_read, sampled_positions, axis=1)] = np.nan
        output_rows = [np.take_along_axis(_flatten_positions(y), sampled_positions[..., None], axis=1) for y in outputs]

    def grouped(array: np.ndarray) -> np.ndarray:
        columns = math.prod(array.shape[2:]) // layer.groups
        return array.reshape(sampled_positions.size, layer.groups, columns).transpose(1, 0, 2)

    return grouped(patches), [grouped(array) for array in output_rows]


def _flatten_positions(array: np.ndarray) -> np.ndarray:
    """(n, …, features) as (n, positions, features), a model without a batch gives (features,); a sample may have none."""
    array = np.atleast_2d(array)
    return array.reshape(len(array), math.prod(array.shape[1:-1]), array.shape[-1])


def invert_moments(mean: np.ndarray, held_mean: np.ndarray | None) -> np.ndarray:
    """(H + λI)⁻¹ of each group, for H per row of data (:attr:`SecondMoments.mean_xx`): float64 (g, d + 1, d + 1).

    λ is chosen on ``held_mean``, of rows held back, or the default without any.
    """
    inverses = np.empty_like(mean)
    for group, gram in enumerate(mean):
        damping = DEFAULT_DAMPING if held_mean is None else choose_damping(gram, held_mean[group], OBS_DAMPINGS)
        inverses[group] = damped_inverse(gram, damping)
    return inverses
