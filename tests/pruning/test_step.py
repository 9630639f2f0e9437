"""The step as a whole, on small networks with random weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import GateError, UnsupportedError, UsageError
from onnxslim.core.step_report import Account
from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.importance.criteria import CRITERIA
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session
from tests.support import nets
from tests.support.paths import SAMPLES

NETS = {"residual": nets.residual, "mobile": nets.mobile, "mlp": nets.mlp}
Made = tuple[ir.Model, Account]


def run(model: ir.Model, n: int = 60, **options: object) -> Made:
    return prune(model, nets.samples(model, n) if n else None, PruneOptions(**options))  # type: ignore[arg-type]


def error(model: ir.Model, other: ir.Model) -> float:
    x = next(iter(nets.samples(model, 64, 99).batches(64)))["x"]
    a, b = (next(iter(Session(m).run({"x": x}).values())) for m in (model, other))
    return float(np.square(a - b).sum() / np.square(a).sum())


@pytest.mark.parametrize("of", ["params", "macs"])
@pytest.mark.parametrize("net", NETS)
def test_the_budget_is_met_and_hardly_exceeded(net: str, of: str) -> None:
    model = NETS[net]()
    pruned, account = run(model, remove=0.3, of=of)
    before, after = getattr(compute_cost(model), of), getattr(compute_cost(pruned), of)
    assert 0.55 * before < after <= 0.7 * before
    assert account.changed[of] == before - after


@pytest.mark.parametrize("net", NETS)
def test_data_make_it_better(net: str) -> None:
    model = NETS[net]()
    blind, account = run(model, 0, remove=0.3, of="macs", criterion="l2")
    seeing, _ = run(model, 200, remove=0.3, of="macs")
    assert error(model, seeing) < 0.7 * error(model, blind)
    assert any("no data" in warning for warning in account.warnings)


def test_a_size_is_met() -> None:
    model = nets.residual()
    size = len(model_file.to_bytes(model)) * 2 // 3
    pruned, _ = run(model, max_size=size)
    assert len(model_file.to_bytes(pruned)) <= size


def test_a_size_it_already_has_is_no_budget() -> None:
    with pytest.raises(UsageError, match="already has"):
        run(nets.mlp(), max_size=10**9)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_meets_the_budget(criterion: str) -> None:
    if CRITERIA[criterion].requires == "gradients":
        pytest.importorskip("torch", reason="no torch here")
    model = nets.residual()
    pruned, _ = run(model, remove=0.25, criterion=criterion)
    assert compute_cost(pruned).params <= 0.75 * compute_cost(model).params


@pytest.mark.parametrize("criterion", ["bn", "activation", "taylor"])
def test_a_criterion_that_reads_activations_needs_data(criterion: str) -> None:
    with pytest.raises(UsageError, match="needs data"):
        run(nets.residual(), 0, criterion=criterion)


def test_uniform_takes_the_same_share_everywhere() -> None:
    _, account = run(nets.mlp((16, 40, 40, 40, 5)), remove=0.4, uniform=True)
    shares = [family["removed"] / family["units"] for family in account.details["families"][0]]
    assert max(shares) - min(shares) < 0.06


def test_the_choice_beats_uniform() -> None:
    model = nets.residual(blocks=3)
    chosen, _ = run(model, 150, remove=0.35, of="macs")
    same, _ = run(model, 150, remove=0.35, of="macs", uniform=True)
    assert error(model, chosen) < error(model, same)


@pytest.mark.parametrize("budget", ["threshold", "redundancy"])
def test_more_is_allowed_more_goes(budget: str) -> None:
    model = nets.mlp()
    counts = [compute_cost(run(model, **{budget: share})[0]).params for share in (0.001, 0.05, 0.6)]  # type: ignore[arg-type]
    assert counts[0] >= counts[1] >= counts[2]
    assert counts[2] < compute_cost(model).params


def test_redundant_channels_go_and_nothing_else() -> None:
    model = nets.mlp((16, 24, 5))
    weight = next(v for v in model.graph.initializers.values() if list(v.shape or ()) == [24, 16])
    array = weight.const_value.numpy().copy()  # type: ignore[union-attr]
    array[12:] = array[:12]
    weight.const_value = ir.tensor(array, name=weight.name)
    bias = next(v for v in model.graph.initializers.values() if list(v.shape or ()) == [24])
    same = bias.const_value.numpy().copy()  # type: ignore[union-attr]
    same[12:] = same[:12]
    bias.const_value = ir.tensor(same, name=bias.name)
    pruned, account = run(model, 200, redundancy=1e-4)
    assert account.changed["units"] >= 11
    assert error(model, pruned) < 1e-3


def test_rounds_meet_the_budget_too() -> None:
    model = nets.residual()
    pruned, account = run(model, remove=0.4, of="macs", rounds=2)
    assert compute_cost(pruned).macs <= 0.6 * compute_cost(model).macs
    assert len(account.details["families"]) == 2


@pytest.mark.parametrize("round_to", [4, 8])
def test_kept_channels_are_rounded(round_to: int) -> None:
    _, account = run(nets.mlp((16, 32, 24, 5)), remove=0.3, round_to=round_to)
    for family in account.details["families"][0]:
        assert (family["units"] - family["removed"]) % round_to == 0


def test_excluded_and_small_layers_are_left_alone() -> None:
    model = nets.mlp((16, 32, 24, 5))
    first = next(iter(model.graph)).name
    _, account = run(model, remove=0.1, exclude=[f"^{first}$"])
    assert first not in [family["node"] for family in account.details["families"][0]]
    assert any("excluded" in declined.reason for declined in account.declined)
    _, account = run(model, remove=0.1, min_layer_params=500)
    assert any("below --min-layer-params" in declined.reason for declined in account.declined)


@pytest.mark.parametrize("exclude", ["nothing is called this", "("])
def test_an_exclude_that_matches_nothing_is_an_error(exclude: str) -> None:
    with pytest.raises(UsageError, match="--exclude"):
        run(nets.mlp(), exclude=[exclude])


def test_what_cannot_be_met_says_what_can() -> None:
    with pytest.raises(GateError, match=r"asked to remove 99.0% of the params, .*% is the most") as caught:
        run(nets.mlp(), remove=0.99)
    assert "Pinned" in caught.value.message or "pinned" in caught.value.message
    assert caught.value.exit_code == 5


def test_a_quantised_model_is_refused() -> None:
    b = nets.Builder(["n", 4])
    scale, zero = b.constant(np.float32(0.1)), b.constant(np.uint8(0))
    quantised = b.op("QuantizeLinear", "x", scale, zero)
    model = b.model(b.gemm(b.op("DequantizeLinear", quantised, scale, zero), 4, 3))
    with pytest.raises(UnsupportedError) as caught:
        prune(model, None, PruneOptions(criterion="l2"))
    assert caught.value.hint == "prune before quantising"


@given(share=st.one_of(st.floats(max_value=0.0), st.floats(min_value=1.0)), name=st.sampled_from(["remove", "threshold"]))
def test_a_rate_outside_its_range_is_a_usage_error(share: float, name: str) -> None:
    with pytest.raises(UsageError):
        PruneOptions(**{name: share})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"remove": 0.3, "max_size": 100},
        {"of": "joules"},
        {"criterion": "taste"},
        {"round_to": 0},
        {"round_to": "often"},
        {"rounds": 0},
        {"max_size": 0},
        {"min_layer_params": -1},
        {"redundancy": float("nan")},
    ],
)
def test_wrong_options_are_usage_errors(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        PruneOptions(**options)  # type: ignore[arg-type]


def test_latency_needs_data_to_measure_on() -> None:
    with pytest.raises(UsageError, match="needs data"):
        run(nets.mlp(), 0, of="latency", criterion="l2")


@pytest.mark.nightly
def test_a_time_budget_may_be_met_by_cheaper_forms_of_layers_and_is_replayed_without_a_clock() -> None:
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    data = open_samples(SAMPLES / "digits_calib.npz", model).take(np.arange(60))
    asked = PruneOptions(remove=0.2, of="latency", low_rank=True)
    pruned, account = prune(model, data, asked)
    assert compute_cost(pruned).macs < compute_cost(model).macs
    again, _ = prune(model, data, replace(asked, cuts=tuple(account.details["cuts"])))
    assert model_file.to_bytes(again) == model_file.to_bytes(pruned)


@pytest.mark.parametrize("options", [{"of": "macs"}, {"criterion": "random", "seed": 3}, {"redundancy": 0.05}])
def test_the_same_call_gives_the_same_bytes(options: dict[str, object]) -> None:
    model = nets.residual()
    first, second = (model_file.to_bytes(run(model, 40, **options)[0]) for _ in range(2))
    assert first == second


def test_the_model_given_is_not_changed() -> None:
    model = nets.residual()
    before = model_file.to_bytes(model)
    run(model, remove=0.3)
    assert model_file.to_bytes(model) == before


def test_progress_is_told() -> None:
    model = nets.residual()
    seen: list[tuple[str, int, int]] = []
    prune(model, nets.samples(model, 40), progress=lambda *told: seen.append(told))
    assert {stage for stage, _, _ in seen} == {"score", "effects", "repair"}
    assert all(0 < done <= total for _, done, total in seen)
