"""The rows that layers read, against the runtime."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.pruning.statistics.layer_moments import sample_rows
from onnxslim.runtime.session import Session
from tests.support.layer_models import LAYER_MODELS
from tests.support.onnx_text import build


def linear_layer() -> tuple[LinearLayer, np.ndarray]:
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    (layer,) = find_linear_layers(
        build("(float[n,s,4] x) => (float[n,s,4] y) { y = MatMul (x, w) }", w=weight).graph
    ).values()
    return layer, np.random.default_rng(1).standard_normal((3, 6, 4)).astype(np.float32)


@pytest.mark.parametrize("case", LAYER_MODELS)
def test_rows_times_the_matrix_are_the_layer(case: str) -> None:
    graph, x = LAYER_MODELS[case]()
    (layer,) = find_linear_layers(graph.graph).values()
    y = Session(graph).run({"x": x})["y"]
    rows, (targets,) = sample_rows(layer, x, [y], 4, 0, 7)
    whole = layer.matrix()
    got = np.einsum("gnd,gmd->gnm", rows, whole[..., :-1]) + whole[:, None, :, -1]
    np.testing.assert_allclose(got, targets, rtol=1e-4, atol=1e-4)


def test_rows_of_places_that_nobody_reads_are_left_out() -> None:
    layer, x = linear_layer()
    read = np.arange(6) < np.array([6, 2, 4])[:, None]
    rows, (targets,) = sample_rows(layer, x, [x], 6, 0, 7, read=read)
    kept = np.isfinite(rows).all(axis=(0, 2))
    np.testing.assert_array_equal(kept.reshape(3, 6).sum(axis=1), [6, 2, 4])
    np.testing.assert_array_equal(rows[0, kept], targets[0, kept])
    np.testing.assert_array_equal(rows[0, kept], x[read])
    assert np.isfinite(x).all()


def test_a_vector_without_a_batch_is_one_row() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    (layer,) = find_linear_layers(build("(float[4] x) => (float[3] y) { y = MatMul (x, w) }", w=weight).graph).values()
    x = np.arange(4, dtype=np.float32)
    rows, (targets,) = sample_rows(layer, x, [x @ weight], 4, 0, 7)
    np.testing.assert_array_equal(rows[0], x[None])
    np.testing.assert_array_equal(targets[0], (x @ weight)[None])
