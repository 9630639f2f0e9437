"""Time as a budget. Nothing here asserts how long anything takes; only that what was measured is used right."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.selection.latency import LatencyMeter
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.timing import Timing
from tests.support import nets

CONFIG = SessionConfig()


@pytest.mark.parametrize(("jitter", "noisy"), [(0.01, False), (0.8, True)])
def test_a_machine_too_noisy_for_the_times_to_be_believed_is_said(
    jitter: float, noisy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)

    def timed(sessions: dict[str, object], *_: object, **__: object) -> Timing:
        return Timing({name: 1 + jitter * rng.random(40) for name in sessions}, "cpu", 1)

    monkeypatch.setitem(LatencyMeter.measure_seconds.__globals__, "interleave", timed)
    model = nets.residual(blocks=1)
    clock = LatencyMeter(model, nets.samples(model, 4), CONFIG)
    assert clock.noise_warning() is None
    clock.measure_seconds(model)
    assert (clock.noise_warning() is not None) == noisy
