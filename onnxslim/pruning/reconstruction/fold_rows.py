"""What one layer reads and what it should give out, collected from a walk, sample by sample in folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnxslim.graph.clip_bounds import find_flat_bounds
from onnxslim.pruning.reconstruction.regression_targets import RegressionTarget
from onnxslim.pruning.statistics.layer_moments import sample_rows
from onnxslim.pruning.statistics.regression_rows import RegressionRows
from onnxslim.pruning.statistics.second_moments import HOLDOUT_PERIOD, find_row_origins, positions_per_sample


class FoldRows:
    """The rows of one layer in :data:`HOLDOUT_PERIOD` folds, which never share a sample.

    Args:
        target: The layer and what it is fitted to.
        samples: How many there are in all.
        seed: Of the choice of positions.
    """

    def __init__(self, target: RegressionTarget, samples: int, seed: int = 0) -> None:
        self._target, self._seed = target, seed
        self._per_sample = positions_per_sample(target.layer.columns, samples, target.layer.groups)
        self._parts: list[list[list[np.ndarray]]] = [[] for _ in range(HOLDOUT_PERIOD)]
        self._blocks: list[list[np.ndarray]] = [[] for _ in range(HOLDOUT_PERIOD)]
        self._sample_count = 0

    def add(
        self,
        indices: Sequence[int] | range,
        current: Mapping[str, np.ndarray],
        reference: np.ndarray,
        *,
        read: np.ndarray | None = None,
    ) -> None:
        """Add a batch.

        Args:
            indices: Which samples it holds. Rows that cannot be told apart by sample are all in the first fold.
            current: What there is now, by tensor: the target's ``input_tensors``.
            reference: What there was, shaped like the layer's output.
            read: Which places of the samples anybody reads, bool (n, places); None: all.
        """
        layer, x = self._target.layer, current[self._target.layer.input]
        outputs = [reference, *(current[name] for name in self._target.input_tensors[1:])]
        first, seed = self._sample_count, self._seed
        input_rows, output_rows = sample_rows(layer, x, outputs, self._per_sample, first, seed, read=read)
        self._sample_count += len(x)
        samples, folds = find_row_origins(indices, input_rows.shape[1])
        for number, (parts, blocks) in enumerate(zip(self._parts, self._blocks, strict=True)):
            mask = folds == number
            parts.append([array[:, mask] for array in (input_rows, *output_rows)])
            blocks.append(samples[mask])

    def finish(self) -> list[RegressionRows]:
        """The rows of each fold; nothing is left here."""
        bounds = find_flat_bounds(self._target.output)
        has_bias = self._target.layer.has_bias
        return [_join_rows(self._parts.pop(0), np.concatenate(blocks), bounds, has_bias) for blocks in self._blocks]


def _join_rows(
    parts: list[list[np.ndarray]], blocks: np.ndarray, bounds: tuple[float, float], has_bias: bool
) -> RegressionRows:
    """The rows of all batches, which are let go of: x, y and, where there is a sum, its other side, which is taken off."""
    x, y, *others = (_join_parts(parts, number) for number in range(len(parts[0])))
    if not others:
        return RegressionRows(x, y, *bounds, has_bias, overwrite_x=True, blocks=blocks)
    low, high = (edge - others[0] if np.isfinite(edge) else edge for edge in bounds)
    return RegressionRows(x, y - others[0], low, high, has_bias, overwrite_x=True, blocks=blocks)


def _join_parts(parts: list[list[np.ndarray]], number: int) -> np.ndarray:
    """Array ``number`` of each of ``parts`` along the rows; each is let go of as soon as it is copied."""
    arrays = [part[number] for part in parts]
    groups, _, columns = arrays[0].shape
    result = np.empty((groups, sum(array.shape[1] for array in arrays), columns), np.result_type(*arrays))
    del arrays
    start = 0
    for part in parts:
        stop = start + part[number].shape[1]
        result[:, start:stop], part[number], start = part[number], result[:, :0], stop
    return result
