"""What is chosen under a budget, and what is said where none can be met."""

from __future__ import annotations

import math
from dataclasses import replace

import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import GateError, TimeLimitError
from onnxslim.graph.cost import compute_cost
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.budget import make_budget
from onnxslim.pruning.selection.effects import initial_effects
from onnxslim.pruning.selection.pacing import BudgetPace
from onnxslim.pruning.selection.plan import list_choices, meet_budget
from onnxslim.pruning.selection.readings import Reading
from onnxslim.pruning.selection.survey import Surveys, survey_candidates
from onnxslim.pruning.selection.widths import plan_widths
from tests.support import nets
from tests.support.pruned import error, run_prune


def test_the_choice_beats_uniform() -> None:
    model = nets.residual(blocks=3)
    chosen, _ = run_prune(model, 150, remove=0.35, of="macs")
    same, _ = run_prune(model, 150, remove=0.35, of="macs", uniform=True)
    assert error(model, chosen) < error(model, same)


@pytest.mark.parametrize("budget", ["threshold", "redundancy"])
def test_more_is_allowed_more_goes(budget: str) -> None:
    model = nets.mlp()
    counts = [compute_cost(run_prune(model, **{budget: share})[0]).params for share in (0.001, 0.05, 0.6)]  # type: ignore[arg-type]
    assert counts[0] >= counts[1] >= counts[2]
    assert counts[2] < compute_cost(model).params


def test_what_cannot_be_met_says_what_can() -> None:
    with pytest.raises(GateError, match=r"asked to remove 99.0% of the params, .*% is the most") as caught:
        run_prune(nets.mlp(), remove=0.99)
    assert f"{caught.value.prunable_share:.1%} is the most" in caught.value.message
    assert "Pinned" in caught.value.message or "pinned" in caught.value.message
    assert caught.value.exit_code == 5


class _Hurried(BudgetPace):
    """Has time for so many cuts until one is found, and for none from then on."""

    def __init__(self, cuts: float = math.inf) -> None:
        super().__init__(RunContext())
        self._cuts = cuts

    def fits(self, *, is_found: bool) -> bool:
        self._cuts -= 1
        self.has_refused = self.is_cut_short = is_found or self._cuts < 0
        return not self.has_refused


def test_without_time_the_first_choice_that_meets_the_budget_is_taken() -> None:
    model = nets.residual(blocks=3)
    context, options = RunContext(), PruneOptions(remove=0.3, of="macs", round_to=1)
    candidates = survey_candidates(model, context, options, Surveys(), has_budget=True).candidates
    widths, measured = plan_widths(candidates, options, context, {}), list[ir.Model]()
    budget = make_budget(model, context, options)
    assert budget is not None

    def read(model: ir.Model) -> Reading:
        measured.append(model)
        return Reading(float(compute_cost(model).macs))

    counted = replace(budget, read=read, tolerance=1.0)
    choices = list_choices(candidates, initial_effects(candidates), counted.savings(candidates, widths), options)
    hurried = meet_budget(candidates, choices, counted, is_uniform=False, pace=_Hurried()).cut
    met = [compute_cost(model).macs <= budget.limit for model in measured]
    assert met[-1]
    assert not any(met[:-1])
    assert compute_cost(candidates.build_for_measurement(hurried)).macs <= budget.limit


class _ReadOnce(BudgetPace):
    """Has time for cuts, and for reading none of them again."""

    def may_repeat(self) -> bool:
        self.has_refused = True
        return False


@pytest.mark.parametrize(("error", "pace"), [(0.0, None), (0.001, _ReadOnce(RunContext()))], ids=["counted", "read once"])
def test_where_no_cut_saves_anything_that_is_said(error: float, pace: BudgetPace | None) -> None:
    model = nets.mlp()
    context, options = RunContext(), PruneOptions(remove=0.3, of="macs", round_to=1)
    candidates = survey_candidates(model, context, options, Surveys(), has_budget=True).candidates
    budget = make_budget(model, context, options)
    assert budget is not None
    savings = budget.savings(candidates, plan_widths(candidates, options, context, {}))
    slower = replace(budget, read=lambda model: Reading(1.003 * budget.total, error * budget.total))
    choices = list_choices(candidates, initial_effects(candidates), savings, options)
    with pytest.raises(GateError, match="no cut saves any of it"):
        meet_budget(candidates, choices, slower, is_uniform=False, pace=pace)


def test_where_time_ends_before_anything_is_enough_it_is_not_said_that_nothing_can_be() -> None:
    model = nets.residual(blocks=2)
    context, options = RunContext(), PruneOptions(remove=0.3, of="macs", round_to=1)
    candidates = survey_candidates(model, context, options, Surveys(), has_budget=True).candidates
    budget = make_budget(model, context, options)
    assert budget is not None
    readings = list[ir.Model]()

    def read(model: ir.Model) -> Reading:
        readings.append(model)
        return Reading(budget.total)

    savings = budget.savings(candidates, plan_widths(candidates, options, context, {}))
    choices = list_choices(candidates, initial_effects(candidates), savings, options)
    with pytest.raises(TimeLimitError, match=r"no time left to find what leaves 70.0% of the macs"):
        meet_budget(candidates, choices, replace(budget, read=read), is_uniform=False, pace=_Hurried(2))
    assert len(readings) <= 3
