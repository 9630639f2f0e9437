"""The estimate against regressions whose error without noise is known."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.reconstruction.least_squares import fit_layer
from onnxslim.pruning.reconstruction.sample_need import ENOUGH_SHARE, estimate_sample_need
from onnxslim.pruning.statistics.regression_rows import RegressionRows


@pytest.mark.parametrize("count", [100, 400])
def test_it_tells_variance_from_bias(count: int) -> None:
    rng = np.random.default_rng(count)
    truth = rng.normal(size=(1, 4, 21))
    seen, left_out, variance, total = [], [], 0.0, 0.0
    for _ in range(20):
        x = rng.normal(size=(1, count, 20))
        y = x @ truth[..., :-1].transpose(0, 2, 1) + truth[:, None, :, -1] + 3 * rng.normal(size=(1, count, 4))
        fit = fit_layer([RegressionRows(x[:, i::5], y[:, i::5]) for i in range(5)], np.zeros((1, 4, 21)))
        seen.append(fit.error_seen)
        left_out.append(fit.error)
        excess = float(np.square(fit.weight - truth).sum())
        variance, total = variance + excess, total + excess + 4 * 9.0
    need = estimate_sample_need(seen, left_out, count)
    assert need.variance_share == pytest.approx(variance / total, rel=0.35)
    assert need.samples == pytest.approx(max(count, 9 * count * variance / (total - variance)), rel=0.4)


def test_where_more_than_enough_share_is_bias_the_samples_will_do() -> None:
    assert estimate_sample_need([1.0], [1.1], 50).samples == 50
    assert estimate_sample_need([1.0], [0.9], 50).variance_share == 0.0
    need = estimate_sample_need([0.2, 0.3], [1.0, 1.0], 50)
    assert need.samples > 50
    assert need.variance_share > ENOUGH_SHARE
