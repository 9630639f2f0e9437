"""The rows that layers read, against the runtime."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph.layers import find_linear_layers
from onnxslim.pruning.statistics.layer_moments import sample_rows
from onnxslim.runtime.session import Session
from tests.support.layer_models import LAYER_MODELS


@pytest.mark.parametrize("case", LAYER_MODELS)
def test_rows_times_the_matrix_are_the_layer(case: str) -> None:
    graph, x = LAYER_MODELS[case]()
    (layer,) = find_linear_layers(graph.graph).values()
    y = Session(graph).run({"x": x})["y"]
    rows, (targets,) = sample_rows(layer, x, [y], 4, 0, 7)
    whole = layer.matrix()
    got = np.einsum("gnd,gmd->gnm", rows, whole[..., :-1]) + whole[:, None, :, -1]
    np.testing.assert_allclose(got, targets, rtol=1e-4, atol=1e-4)
