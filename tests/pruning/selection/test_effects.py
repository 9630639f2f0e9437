"""Effects are measured while there is time, and what was not measured is not taken."""

from __future__ import annotations

import math

import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.core.deadline import Pacer
from onnxslim.core.progress import ignore_progress
from onnxslim.pruning.block_dropping import find_droppable
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.error_curves import compute_error_curves
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.effects import measure_effects
from onnxslim.pruning.selection.knapsack import Savings, list_amounts
from onnxslim.pruning.selection.output_effect import OutputComparer
from onnxslim.pruning.selection.plan import list_choices
from onnxslim.runtime.session import SessionConfig
from tests.support import nets


class CountingPacer(Pacer):
    """So many parts fit."""

    def __init__(self, count: int) -> None:
        super().__init__(None)
        self.left = count

    def fits(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def fits_all(self, count: int) -> bool:
        return count <= self.left


@pytest.fixture(scope="module")
def found() -> Candidates:
    model = nets.residual(blocks=3)
    data, analysis = nets.samples(model, 40), analyze_channels(model)
    curves, _ = compute_error_curves(model, RunContext(data), analysis, find_channel_groups(analysis))
    return Candidates(model, analysis, curves, find_droppable(model, []), data, SessionConfig())


@pytest.mark.parametrize("count", [0, 1, 5, 10**6])
def test_what_was_not_measured_stays(found: Candidates, count: int) -> None:
    assert found.samples is not None
    comparer = OutputComparer(found.model, found.samples, found.config)
    effects = measure_effects(found, comparer, ignore_progress, CountingPacer(count))
    everything = len(found.blocks) + sum(len(curve.weights) for curve in found.curves)
    measured = sum(map(len, effects.curves)) + sum(map(math.isfinite, effects.blocks))
    assert measured == min(count, everything)
    assert effects.unmeasured == everything - measured
    amounts = [list_amounts(len(curve.group), 1) for curve in found.curves]
    savings = Savings([(a, 1.0 * a) for a in amounts], [1.0] * len(found.blocks))
    choices = list_choices(found, effects, savings, PruneOptions(remove=0.5))
    if effects.unmeasured:
        for curve_effects, choice in zip(effects.curves, choices, strict=False):
            assert (len(choice.amounts) > 1) == bool(curve_effects)


def test_in_a_hurry_each_curve_has_one_level(found: Candidates) -> None:
    assert found.samples is not None
    comparer = OutputComparer(found.model, found.samples, found.config)
    needed = len(found.blocks) + len(found.curves)
    effects = measure_effects(found, comparer, ignore_progress, CountingPacer(needed))
    assert all(len(curve) == 1 for curve in effects.curves)
    assert all(map(math.isfinite, effects.blocks))
