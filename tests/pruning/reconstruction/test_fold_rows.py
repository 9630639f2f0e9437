"""Rows of a walk: every sample in one fold, whole, wherever batches end."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.graph.layers import find_linear_layers
from onnxslim.pruning.reconstruction.fold_rows import FoldRows
from onnxslim.pruning.reconstruction.regression_targets import RegressionTarget
from onnxslim.pruning.statistics.regression_rows import RegressionRows
from onnxslim.runtime.session import SessionConfig
from tests.support import nets


def collect(count: int, batch: int) -> list[RegressionRows]:
    model = nets.residual()
    position, layer = list(find_linear_layers(model.graph).items())[1]
    target = RegressionTarget(layer, position, layer.output, None, ())
    collected = FoldRows(target, count)
    executor = SegmentExecutor(model, nets.samples(model, count), SessionConfig())
    for indices, tensors in executor.run_segment(position, [layer.input, layer.node_output]):
        for start in range(0, len(indices), batch):
            part = {name: array[start : start + batch] for name, array in tensors.items()}
            collected.add(indices[start : start + batch], part, part[layer.node_output])
    return collected.finish()


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_samples_take_turns_and_stay_whole(batch: int) -> None:
    folds = collect(23, batch)
    assert [np.unique(rows.blocks).tolist() for rows in folds] == [list(range(fold, 23, 5)) for fold in range(5)]
    for rows in folds:
        assert (np.diff(rows.blocks) >= 0).all()
        assert len(set(np.bincount(rows.blocks)[np.unique(rows.blocks)])) == 1


def test_the_layer_that_made_its_targets_has_no_error() -> None:
    weight = list(find_linear_layers(nets.residual().graph).values())[1].matrix()
    for rows in collect(10, 4):
        assert rows.squared_error(weight) < 1e-6 * len(rows)
