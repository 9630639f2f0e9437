"""Runs of groups quantised alone, the costliest halved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.quantization.evaluation.group_losses import measure_group_losses


@given(st.lists(st.integers(0, 6), min_size=1, max_size=24), st.integers(1, 40))
def test_losses_add_up_to_what_was_measured_and_no_more_is_asked_than_allowed(exponents: list[int], trials: int) -> None:
    true = {f"g{i}": 10.0**-exponent for i, exponent in enumerate(exponents)}
    asked: list[Sequence[str]] = []

    def measure(names: Sequence[str]) -> float:
        asked.append(names)
        return sum(true[name] for name in names)

    losses = measure_group_losses(list(true), measure, max_trials=trials)
    assert len(asked) <= trials
    assert losses.keys() == true.keys()
    # each measurement is told to two digits
    assert sum(losses.values()) == pytest.approx(sum(true.values()), rel=0.06)
    if trials >= 2 * len(true):
        assert losses == pytest.approx(true, rel=1e-6)


def test_the_one_group_that_costs_all_is_found_among_many_in_few_runs() -> None:
    names = [f"g{i}" for i in range(200)]
    losses = measure_group_losses(names, lambda run: 1.0 * ("g131" in run) + 1e-6 * len(run))
    assert losses["g131"] == pytest.approx(1.0)
    assert max(loss for name, loss in losses.items() if name != "g131") < 1e-5


def test_what_is_not_finite_costs_most_and_no_run_begins_for_which_there_is_no_time() -> None:
    losses = measure_group_losses(["a", "b"], lambda run: math.nan if "b" in run else 1e-3)
    assert losses["b"] > 1e3 > losses["a"]
    asked: list[Sequence[str]] = []
    measure_group_losses(["a", "b", "c", "d"], lambda run: asked.append(run) or 1.0, lambda: len(asked) < 2)  # type: ignore[func-returns-value]
    assert len(asked) == 3
    assert measure_group_losses([], lambda run: 1.0) == {}
