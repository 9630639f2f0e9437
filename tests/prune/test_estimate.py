"""What a prune step is said to take, from counts that must follow what it does; rates are given, nothing is timed."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.errors import OnnxslimError
from onnxslim.prune import estimate
from onnxslim.prune.estimate import Rates, Work, predict, work
from onnxslim.runtime.session import SessionConfig
from tests.prune import nets


def test_more_samples_are_more_work() -> None:
    model = nets.residual(width=16)
    few, many = work(model, 64), work(model, 256)
    assert 3.0 < many.runs / few.runs < 5.0
    assert few.flops < many.flops


def test_deeper_and_wider_is_more_work() -> None:
    small, deep, wide = (work(net, 128) for net in (nets.residual(2), nets.residual(4), nets.residual(2, width=32)))
    assert deep.runs > small.runs
    assert deep.flops > 1.5 * small.flops
    assert wide.flops > 4 * small.flops


def test_every_candidate_is_run_on_the_samples_held_back() -> None:
    """A perceptron has no blocks: samples pass to score and to repair, and then for the levels of each of its families."""
    model = nets.mlp((16, 32, 24, 5))
    levels = 2 * len(estimate.LEVELS) * 20
    assert estimate.PASSES * 100 < work(model, 100).runs <= estimate.PASSES * 100 + levels


def test_seconds_are_counts_over_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.mlp()
    monkeypatch.setattr(estimate, "rates", lambda *_: Rates(runs=100.0, flops=1e6))
    done = work(model, 50)
    assert predict(model, nets.samples(model, 50)) == pytest.approx(done.runs / 100 + done.flops / 1e6)


def test_rates_are_positive_whatever_the_number_of_samples() -> None:
    model = nets.mlp()
    for count in (1, 3, 40):
        found = estimate.rates(model, nets.samples(model, count), SessionConfig())
        assert found.runs > 0
        assert found.flops > 0


def test_a_model_that_cannot_be_told_takes_no_predicted_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Work:
        raise OnnxslimError("no rule")

    monkeypatch.setattr(estimate, "work", fail)
    model = nets.mlp()
    samples = open_samples({"x": np.zeros((4, 16), np.float32)}, model)
    assert predict(model, samples) == 0.0
