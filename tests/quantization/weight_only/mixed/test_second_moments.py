"""Second moments of what layers read."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.weight_only.mixed import second_moments
from onnxslim.quantization.weight_only.mixed.formats import BlockFormats, find_mixed_weights
from onnxslim.quantization.weight_only.mixed.second_moments import count_affordable_runs, count_runs, iter_moments
from onnxslim.runtime.session import SessionConfig
from tests.support.encoder import tied
from tests.support.quantize_graphs import model, weight

FORMATS = BlockFormats([BlockFormat(8, 32)], [BlockFormat(8, 32)])
TEXT = "g (float[n,5,64] x) => (float[n,5,32] y) { a = MatMul (x, v) \n b = Relu (a) \n y = MatMul (b, w) }"


@pytest.mark.parametrize("held", [1, 1 << 28])
def test_moments_are_those_of_all_rows_however_many_layers_at_a_time(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_moments, "MAX_MOMENT_BYTES", held)
    v = weight(64, 32)
    found = prepare_model(model(TEXT, v=v, w=weight(32, 32)))[0]
    x = np.random.default_rng(0).standard_normal((7, 5, 64)).astype(np.float32)
    feeds = CalibrationFeeds(open_samples({"x": x}, found))
    weights = find_mixed_weights(found, FORMATS)
    moments = {one.name: got for one, got in iter_moments(found, weights, feeds, SessionConfig())}
    rows = x.reshape(-1, 64).astype(np.float64)
    hidden = np.maximum(rows @ v, 0)
    for name, wanted in (("v", rows), ("w", hidden)):
        got = moments[name]
        assert got is not None
        assert got.rows == 35
        np.testing.assert_allclose(got.gram, wanted.T @ wanted / 35, rtol=1e-4, atol=1e-5)


def test_a_weight_that_layers_share_is_fitted_to_what_all_of_them_read() -> None:
    """As where one block runs several times; here the first layer's inputs are always zero."""
    text = (
        "g (float[n,64] x) => (float[n,64] y) { z = Sub (x, x) \n a = MatMul (z, v) \n b = MatMul (x, v) \n y = Add (a, b) }"
    )
    found = prepare_model(model(text, v=weight(64, 64)))[0]
    x = np.random.default_rng(0).standard_normal((9, 64)).astype(np.float32)
    feeds = CalibrationFeeds(open_samples({"x": x}, found))
    ((_, got),) = iter_moments(found, find_mixed_weights(found, FORMATS), feeds, SessionConfig())
    assert got is not None
    assert got.rows == 18
    np.testing.assert_allclose(got.gram, x.T.astype(np.float64) @ x / 18, rtol=1e-4, atol=1e-5)


def test_a_table_has_no_moments_but_those_of_the_layer_that_it_is_tied_to() -> None:
    found = prepare_model(tied("Gemm"))[0]
    feeds = CalibrationFeeds(open_samples({"ids": np.arange(40)}, found))
    ((_, got),) = iter_moments(found, find_mixed_weights(found, FORMATS), feeds, SessionConfig())
    assert got is not None
    assert got.gram.shape == (64, 64)
    text = "g (int64[n] ids) => (float[n,64] y) { y = Gather (table, ids) }"
    found = prepare_model(model(text, table=weight(100, 64)))[0]
    ((_, none),) = iter_moments(found, find_mixed_weights(found, FORMATS), feeds, SessionConfig())
    assert none is None


def test_the_fewer_rows_the_less_roundings_make_up_for_each_other() -> None:
    gram = np.eye(4) + 0.5
    few, many = (second_moments.InputMoments(gram, rows).feedback.factor for rows in (2, 1000))
    assert np.abs(np.triu(few[0], 1)).sum() / few[0, 0, 0] < np.abs(np.triu(many[0], 1)).sum() / many[0, 0, 0]


def test_runs_are_as_many_as_their_work_pays_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepare_model(model(TEXT, v=weight(64, 32), w=weight(32, 32)))[0]
    feeds = CalibrationFeeds(open_samples({"x": np.zeros((300, 5, 64), np.float32)}, found))
    assert count_runs(found, feeds) == second_moments.MAX_RUNS
    weights = find_mixed_weights(found, FORMATS)
    assert count_affordable_runs(found, weights, feeds, SessionConfig(), 1e9) == second_moments.MAX_RUNS
    assert count_affordable_runs(found, weights, feeds, SessionConfig(), 0.0) == second_moments.MIN_RUNS
    monkeypatch.setattr(second_moments, "RUN_MACS", 1)
    assert count_runs(found, feeds) == second_moments.MIN_RUNS
