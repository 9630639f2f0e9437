"""At the sample size that it asks for, `verify` catches a regression of 1.5 times the limit and lets equal models pass."""

from __future__ import annotations

import gate_power
import pytest


@pytest.mark.parametrize("metric", ["top1", "variance"])
def test_regressions_are_caught_and_equals_pass(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, trials = 0.05, 12
    monkeypatch.setattr(gate_power, "POPULATION", 20_000)
    population = gate_power.make_population(metric)
    rows = {
        name: gate_power.run_trials(population, candidate, limit, trials)
        for name, _, candidate in gate_power.make_candidates(population, limit)
    }
    # with a chance of 1 in 20 each, two of twelve are still likely; three are not
    assert rows["regression"]["fail"] >= 1 - 2 / trials
    assert rows["regression"]["pass"] == 0
    assert rows["equal"]["pass"] >= 1 - 2 / trials
