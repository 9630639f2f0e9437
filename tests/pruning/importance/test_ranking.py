"""The order in which units go, from weights and from measured statistics."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.ranking import order_by_score, score_units
from onnxslim.runtime.session import SessionConfig
from tests.support import nets

CONFIG = SessionConfig()


@pytest.mark.parametrize("folded", [False, True])
def test_batch_norm_scales_are_read_or_measured(folded: bool) -> None:
    b = nets.Builder(["n", 3, 6, 6])
    gamma = np.array([0.5, 3.0, 1.0, 0.1, 2.0, 0.01], np.float32)
    x = b.conv("x", 3, 6)
    if folded:
        x = b.op("Mul", x, b.constant(gamma.reshape(1, 6, 1, 1)))
    else:
        zeros, ones = np.zeros(6, np.float32), np.ones(6, np.float32)
        x = b.op("BatchNormalization", x, *(b.constant(a) for a in (gamma, zeros, zeros, ones)))
    x = b.conv(b.op("Relu", x), 6, 4)
    model = b.model(b.gemm(b.op("Flatten", b.op("GlobalAveragePool", x)), 4, 3))
    analysis = analyze_channels(model)
    found = find_channel_groups(analysis)
    ranked = score_units(model, RunContext(nets.samples(model, 40)), analysis, found, "bn", 0)
    if not folded:
        np.testing.assert_allclose(ranked[0], gamma, rtol=1e-6)
        assert order_by_score(ranked)[0] == np.argsort(gamma).tolist()
    assert len(ranked[0]) == 6


def test_measured_statistics_are_those_of_all_samples() -> None:
    model = nets.mlp((16, 12, 5))
    analysis = analyze_channels(model)
    found = find_channel_groups(analysis)
    data = nets.samples(model, 37)
    ranked = score_units(model, RunContext(data), analysis, found, "activation", 0)
    x = np.concatenate([batch["x"] for batch in data.batches(8)])
    initializers = {name: v.const_value.numpy() for name, v in model.graph.initializers.items() if v.const_value}
    hidden = np.maximum(x @ initializers["c0"].T + initializers["c1"], 0)
    np.testing.assert_allclose(ranked[0], np.sqrt(np.mean(np.square(hidden), axis=0)), rtol=1e-4)
