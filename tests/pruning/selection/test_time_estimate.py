"""What a prune step is said to take, from counts that must follow what it does; rates are given, nothing is timed."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.segment_executor import BATCH_SIZE
from onnxslim.core.errors import OnnxslimError
from onnxslim.data.sources import open_samples
from onnxslim.pruning.selection import time_estimate
from onnxslim.pruning.selection.time_estimate import MachineRates, PruneForecast, PruneWorkload, find_prunable
from onnxslim.runtime.parallel import SessionPool
from onnxslim.runtime.session import SessionConfig
from tests.support import nets


def estimate_workload(model: ir.Model, samples: int) -> PruneWorkload:
    return time_estimate.estimate_workload(find_prunable(model), samples)


def test_more_samples_are_more_work() -> None:
    model = nets.residual(width=16)
    few, many = estimate_workload(model, 64), estimate_workload(model, 256)
    assert 3.0 < many.runs / few.runs < 5.0
    assert few.macs < many.macs


def test_deeper_and_wider_is_more_work() -> None:
    small, deep, wide = (
        estimate_workload(net, 128) for net in (nets.residual(2), nets.residual(4), nets.residual(2, width=32))
    )
    assert deep.runs > small.runs
    assert deep.macs > 1.5 * small.macs
    assert wide.macs > 4 * small.macs


def test_a_layer_that_one_fold_judges_is_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.mlp((16, 64, 64, 5))
    judged_by_all = estimate_workload(model, 100).macs
    monkeypatch.setattr("onnxslim.pruning.reconstruction.fold_moments.MAX_HELD_BYTES", 1)
    assert estimate_workload(model, 100).macs < judged_by_all


def test_every_candidate_is_run_on_the_samples_held_back() -> None:
    """A perceptron has no blocks: samples pass to score and to repair, and then for the levels of each of its families."""
    model = nets.mlp((16, 32, 24, 5))
    levels = 2 * len(time_estimate.EFFECT_LEVELS) * 20
    assert time_estimate.FULL_PASSES * 100 < estimate_workload(model, 100).runs <= time_estimate.FULL_PASSES * 100 + levels


def test_seconds_are_counts_over_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.mlp()
    monkeypatch.setattr(time_estimate, "measure_rates", lambda *_: MachineRates(runs=100.0, macs=1e6, openings=4.0))
    forecast, done = PruneForecast(model, nets.samples(model, 50), SessionConfig()), estimate_workload(model, 20)
    assert forecast.predict_seconds(20) == pytest.approx(done.runs / 100 + done.macs / 1e6 + done.openings / 8)
    assert forecast.predict_seconds(20) < forecast.predict_seconds(50)


def test_opening_a_session_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of the clock is a second later, so that what is timed takes one, unless it is the opening too."""
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)

    class SlowToOpen(SessionPool):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            for _ in range(100):
                clock.perf_counter()

    monkeypatch.setattr(time_estimate, "time", clock)
    monkeypatch.setattr(time_estimate, "SessionPool", SlowToOpen)
    model = nets.mlp()
    rates = time_estimate.measure_rates(model, nets.samples(model, 40), SessionConfig())
    assert rates.runs == pytest.approx(BATCH_SIZE)
    assert rates.openings == pytest.approx(1 / 101)


def test_rates_are_positive_whatever_the_number_of_samples() -> None:
    model = nets.mlp()
    for count in (1, 3, 40):
        found = time_estimate.measure_rates(model, nets.samples(model, count), SessionConfig())
        assert found.runs > 0
        assert found.macs > 0


def test_a_model_that_cannot_be_told_takes_no_predicted_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> PruneWorkload:
        raise OnnxslimError("no rule")

    monkeypatch.setattr(time_estimate, "find_prunable", fail)
    model = nets.mlp()
    samples = open_samples({"x": np.zeros((4, 16), np.float32)}, model)
    assert PruneForecast(model, samples, SessionConfig()).predict_seconds(4) == 0.0
