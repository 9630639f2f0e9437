"""Budgets are met and hardly exceeded."""

from __future__ import annotations

import re

import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.progress import ignore_progress
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection import budget
from onnxslim.pruning.selection.latency import CHANNEL_MULTIPLE
from onnxslim.pruning.selection.readings import KeptCut
from onnxslim.runtime.session import SessionConfig
from tests.support import nets
from tests.support.pruned import run_prune

NETS = {"residual": nets.residual, "mobile": nets.mobile, "mlp": nets.mlp}


@pytest.mark.parametrize("of", ["params", "macs"])
@pytest.mark.parametrize("net", NETS)
def test_the_budget_is_met_and_hardly_exceeded(net: str, of: str) -> None:
    model = NETS[net]()
    pruned, report = run_prune(model, remove=0.3, of=of)
    before, after = getattr(compute_cost(model), of), getattr(compute_cost(pruned), of)
    assert 0.55 * before < after <= 0.7 * before
    assert report.changed[of] == before - after


def test_a_size_is_met() -> None:
    model = nets.residual()
    size = len(model_file.to_bytes(model)) * 2 // 3
    pruned, _ = run_prune(model, max_size=size)
    assert len(model_file.to_bytes(pruned)) <= size


def test_a_size_it_already_has_is_no_budget() -> None:
    with pytest.raises(UsageError, match="already has"):
        run_prune(nets.mlp(), max_size=10**9)


@pytest.mark.parametrize("of", ["params", "macs"])
def test_a_model_without_layers_has_nothing_to_prune(of: str) -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }""")
    with pytest.raises(UnsupportedError, match=f"nothing to prune: the model has no {of}"):
        run_prune(model, remove=0.2, of=of)


@pytest.mark.parametrize(("seconds", "round_to", "counted", "multiple"), [
    (1e-3, "auto", "latency", "auto"), (1e-5, "auto", "params", CHANNEL_MULTIPLE), (1e-5, 1, "params", 1),
])  # fmt: skip
def test_a_share_that_the_clock_cannot_tell_is_of_the_parameters(
    seconds: float, round_to: int | str, counted: str, multiple: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget.LatencyMeter, "original_seconds", seconds)
    model = nets.mlp()
    context = RunContext(nets.samples(model, 8), SessionConfig(), ignore_progress)
    options, caution = budget.settle_counting(model, context, PruneOptions(remove=0.3, round_to=round_to))
    assert (options.of, options.round_to) == (counted, multiple)
    assert (caution is not None) == (counted == "params")
    named = PruneOptions(remove=0.3, of="macs")
    assert budget.settle_counting(model, context, named) == (named, None)


def test_what_a_clock_left_to_be_counted_is_repeated_by_its_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget.LatencyMeter, "original_seconds", 1e-5)
    _, report = run_prune(nets.residual(), remove=0.3, of=None)
    assert (report.decision.of, report.decision.by_clock) == ("params", True)
    assert any("the clock cannot tell" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("kept", "out_of_time", "said"),
    [
        (KeptCut(0, (0.69, 0.70)), False, None),
        (KeptCut(0, (0.69, 0.70)), True, None),
        (
            KeptCut(0, (0.5, 0.7)),
            False,
            "this machine was noisy while it was timed: 50.0% to 70.0% of the latency is left; ",
        ),
        (KeptCut(0, (-0.1, 0.2)), False, "noisy .*: 0.0% to 20.0% of the latency is left; prune again"),
        (KeptCut(0, (0.5, 0.5)), False, None),
        (
            KeptCut(0, (0.5, 0.5)),
            True,
            "no time left .*: 50.0% of the latency is left, where 70.0% was asked for; .*--budget",
        ),
        (KeptCut(0, (0.65, 0.72), False), True, "no time left .*: 65.0% to 72.0% .*, where 70.0% was asked for; .*--budget"),
        (KeptCut(0, (0.65, 0.72), False), False, "noisy .*: 65.0% to 72.0% .*, where 70.0% was asked for; prune again"),
    ],
)
def test_what_is_left_is_doubted_aloud_and_for_the_right_reason(
    kept: KeptCut[int], out_of_time: bool, said: str | None
) -> None:
    asked = budget.Budget("latency", 2.0, 1.4, lambda model: budget.Reading(2.0), budget._get_seconds, 1.03)
    scaled = KeptCut(kept.cut, (2 * kept.bounds[0], 2 * kept.bounds[1]), kept.is_sure)
    text = asked.describe_doubt(scaled, out_of_time=out_of_time)
    assert (text is None) == (said is None)
    assert said is None or re.search(said, str(text))
