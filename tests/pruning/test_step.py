"""The step as a whole, on small networks with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import GateError, InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.data.split import draw_samples
from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.importance.criteria import CRITERIA
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session
from tests.support import nets
from tests.support.channel_cases import CASES
from tests.support.onnx_text import build
from tests.support.paths import SAMPLES
from tests.support.pruned import error, run_prune, time_by_macs

NETS = {"residual": nets.residual, "mobile": nets.mobile, "mlp": nets.mlp}


@pytest.mark.parametrize("net", NETS)
def test_data_make_it_better(net: str) -> None:
    model = NETS[net]()
    blind, report = run_prune(model, 0, remove=0.3, of="macs", criterion="l2")
    seeing, _ = run_prune(model, 200, remove=0.3, of="macs")
    assert error(model, seeing) < 0.7 * error(model, blind)
    assert any("no data" in warning for warning in report.warnings)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_meets_the_budget(criterion: str) -> None:
    if CRITERIA[criterion].requires == "gradients":
        pytest.importorskip("torch", reason="no torch here")
    model = nets.residual()
    pruned, _ = run_prune(model, remove=0.25, criterion=criterion)
    assert compute_cost(pruned).params <= 0.75 * compute_cost(model).params


@pytest.mark.parametrize("criterion", ["bn", "activation", "taylor"])
def test_a_criterion_that_reads_activations_needs_data(criterion: str) -> None:
    with pytest.raises(UsageError, match="needs data"):
        run_prune(nets.residual(), 0, remove=0.3, criterion=criterion)


def test_some_of_the_samples_are_as_good_as_those_alone() -> None:
    model = nets.residual()
    samples = nets.samples(model, 120)
    some, _ = prune(model, samples, PruneOptions(remove=0.25, of="macs", round_to=1, samples=40, seed=3))
    alone, _ = prune(
        model, samples.take(draw_samples(samples, 40, 3)), PruneOptions(remove=0.25, of="macs", round_to=1, seed=3)
    )
    every, _ = prune(model, samples, PruneOptions(remove=0.25, of="macs", round_to=1, samples=500, seed=3))
    assert model_file.to_bytes(some) == model_file.to_bytes(alone) != model_file.to_bytes(every)
    with pytest.raises(UsageError, match="at least 1"):
        PruneOptions(remove=0.25, samples=0)


def test_uniform_takes_the_same_share_everywhere() -> None:
    _, report = run_prune(nets.mlp((16, 40, 40, 40, 5)), remove=0.4, uniform=True)
    shares = [family["removed"] / family["units"] for family in report.details["families"][0]]
    assert max(shares) - min(shares) < 0.06


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
    pruned, report = run_prune(model, 200, redundancy=1e-4)
    assert report.changed["units"] >= 11
    assert error(model, pruned) < 1e-3


def test_rounds_meet_the_budget_too() -> None:
    model = nets.residual()
    pruned, report = run_prune(model, remove=0.4, of="macs", rounds=2)
    assert compute_cost(pruned).macs <= 0.6 * compute_cost(model).macs
    assert len(report.details["families"]) == 2


@pytest.mark.parametrize("round_to", [4, 8])
def test_kept_channels_are_rounded(round_to: int) -> None:
    _, report = run_prune(nets.mlp((16, 32, 24, 5)), remove=0.3, round_to=round_to)
    for family in report.details["families"][0]:
        assert (family["units"] - family["removed"]) % round_to == 0


def test_excluded_and_small_layers_are_left_alone() -> None:
    model = nets.mlp((16, 32, 24, 5))
    first = next(iter(model.graph)).name
    _, report = run_prune(model, remove=0.1, exclude=[f"^{first}$"])
    assert first not in [family["node"] for family in report.details["families"][0]]
    assert any("excluded" in skipped.reason for skipped in report.skipped)
    _, report = run_prune(model, remove=0.1, min_layer_params=500)
    assert any("below --min-layer-params" in skipped.reason for skipped in report.skipped)


@pytest.mark.parametrize("exclude", ["nothing is called this", "("])
def test_an_exclude_that_matches_nothing_is_an_error(exclude: str) -> None:
    with pytest.raises(UsageError, match="--exclude"):
        run_prune(nets.mlp(), remove=0.3, exclude=[exclude])


def test_a_quantised_model_is_refused() -> None:
    b = nets.Builder(["n", 4])
    scale, zero = b.constant(np.float32(0.1)), b.constant(np.uint8(0))
    quantised = b.op("QuantizeLinear", "x", scale, zero)
    model = b.model(b.gemm(b.op("DequantizeLinear", quantised, scale, zero), 4, 3))
    with pytest.raises(UnsupportedError) as caught:
        prune(model, None, PruneOptions(remove=0.3, criterion="l2"))
    assert caught.value.hint == "prune before quantising"


@pytest.mark.nightly
def test_a_time_budget_may_be_met_by_cheaper_forms_of_layers_and_is_replayed_without_a_clock() -> None:
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    data = open_samples(SAMPLES / "digits_calib.npz", model).take(np.arange(60))
    asked = PruneOptions(remove=0.2, of="latency", low_rank=True)
    pruned, report = prune(model, data, asked)
    assert compute_cost(pruned).macs < compute_cost(model).macs
    again, _ = prune(model, data, replace(asked, cuts=tuple(report.details["cuts"])))
    assert model_file.to_bytes(again) == model_file.to_bytes(pruned)


@pytest.mark.parametrize(
    "options", [{"remove": 0.3, "of": "macs"}, {"remove": 0.3, "criterion": "random", "seed": 3}, {"redundancy": 0.05}]
)
def test_the_same_call_gives_the_same_bytes(options: dict[str, object]) -> None:
    model = nets.residual()
    first, second = (model_file.to_bytes(run_prune(model, 40, **options)[0]) for _ in range(2))
    assert first == second


def test_the_model_given_is_not_changed() -> None:
    model = nets.residual()
    before = model_file.to_bytes(model)
    run_prune(model, remove=0.3)
    assert model_file.to_bytes(model) == before


def test_progress_is_told() -> None:
    model = nets.residual()
    seen: list[tuple[str, int, int]] = []
    prune(
        model,
        nets.samples(model, 40),
        PruneOptions(remove=0.3, of="params", round_to=1),
        progress=lambda *told: seen.append(told),
    )
    assert {stage for stage, _, _ in seen} == {"score", "effects", "repair"}
    assert all(0 < done <= total for _, done, total in seen)


@pytest.mark.parametrize("cuts", [(), ((),), (((1,),),), (((999,) * 9, (), ()),), (((), (99,), ()),), (((), (), (), ()),)])
def test_the_cuts_of_another_model_are_refused(cuts: tuple[tuple[tuple[int, ...], ...], ...]) -> None:
    with pytest.raises(InvalidDataError, match="another model"):
        prune(nets.mlp(), None, PruneOptions(remove=0.3, criterion="l2", cuts=cuts))


def test_what_a_budget_has_no_use_for_is_said_or_refused() -> None:
    _, report = prune(nets.mlp(), None, PruneOptions(threshold=0.01, of="macs"))
    assert any(line.startswith("of macs: --remove is a share of it") for line in report.warnings)
    with pytest.raises(InvalidDataError, match="cuts without a budget"):
        prune(nets.mlp(), None, PruneOptions(sparsity=0.5, cuts=(((), (), ()),)))
    with pytest.raises(InvalidDataError, match="of 2 rounds, expected 1"):
        prune(nets.mlp(), None, PruneOptions(remove=0.3, cuts=(((), (), ()),) * 2))


@pytest.mark.parametrize(("n", "of", "by_clock"), [(40, "latency", True), (0, "params", False)])
def test_a_share_is_of_the_time_where_there_is_something_to_run(
    n: int, of: str, by_clock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_by_macs(monkeypatch)
    model = nets.residual()
    _, report = prune(model, nets.samples(model, n) if n else None, PruneOptions(remove=0.2, round_to=1))
    assert (report.decision.of, report.decision.by_clock) == (of, by_clock)
    assert any("share of its parameters" in warning for warning in report.warnings) == (not n)


def test_random_data_rank_nothing_and_repair_nothing() -> None:
    model = nets.residual()
    options = PruneOptions(remove=0.3, of="params", round_to=1)
    timed, report = prune(model, open_samples("random", model, max_samples=8), options)
    blind, _ = prune(model, None, options)
    assert model_file.to_bytes(timed) == model_file.to_bytes(blind)
    assert any("random data" in warning for warning in report.warnings)


def _products() -> ir.Model:
    """MatMuls, which take inputs of any rank; a Gemm or Conv tells its own."""
    build = nets.Builder(["n", 16])
    hidden = build.op("Relu", build.op("MatMul", "x", build.weight(16, 40)))
    return build.model(build.op("MatMul", hidden, build.weight(40, 5)))


def _without_shapes(net: Callable[[], ir.Model]) -> tuple[ir.Model, Samples]:
    known = net()
    arrays = np.concatenate([batch["x"] for batch in nets.samples(known, 60).batches(60)])
    model = known.clone()
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = None
    return model, open_samples({"x": arrays}, model)


@pytest.mark.parametrize("net", [nets.mlp, nets.residual, _products])
def test_data_tell_the_rank_of_an_input_without_a_shape(net: Callable[[], ir.Model]) -> None:
    model, samples = _without_shapes(net)
    pruned, _ = prune(model, samples, PruneOptions(remove=0.25, of="params", round_to=1), whole=model)
    assert compute_cost(pruned).params < compute_cost(model).params
    assert all(value.shape is None for value in pruned.graph.inputs), "the interface is as it was"


def test_an_input_that_has_no_shape_is_named_where_nothing_can_be_told_without_it() -> None:
    model, samples = _without_shapes(_products)
    with pytest.raises(GateError, match="input x, which has no shape"):
        prune(model, None, PruneOptions(remove=0.25, of="params", round_to=1))
    with pytest.raises(UnsupportedError, match="MACs of MatMul_0 cannot be counted"):
        prune(model, samples, PruneOptions(remove=0.25, of="macs", round_to=1))


def test_a_result_tells_no_shapes_that_the_model_did_not_tell() -> None:
    """What the runtime fuses hangs on them."""
    model = nets.residual()
    told = sorted(shapes.list_known(model).values - {str(value.name) for value in model.graph.outputs})[:1]
    shapes.keep_known(model, shapes.KnownShapes(frozenset(told), frozenset()))
    pruned, _ = run_prune(model, remove=0.3)
    assert shapes.list_known(pruned).values == {*told, *(str(value.name) for value in pruned.graph.outputs)}


#: Some of the mask oracle's graphs; all of them nightly.
_SOME_CASES = list(CASES)[::12]


def _say_less(model: ir.Model, *, outputs: bool) -> ir.Model:
    """``model`` with free sizes that have no name, and of ``outputs`` without any shape."""
    model = model.clone()
    for value in (*model.graph.inputs, *model.graph.outputs):
        dims = shapes.get_dims(value)
        value.shape = None if dims is None else ir.Shape([dim if isinstance(dim, int) else None for dim in dims])
    for value in model.graph.outputs if outputs else ():
        value.shape = None
    return model


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in _SOME_CASES else pytest.mark.nightly) for n in CASES])
def test_callers_are_told_of_outputs_what_they_were_told_and_no_name_is_invented(name: str) -> None:
    net = CASES[name][0]
    for model in (net, _say_less(net, outputs=False), _say_less(net, outputs=True)):
        try:
            pruned, _ = prune(model, None, PruneOptions(remove=0.1, of="params", round_to=1, min_layer_params=0))
        except GateError:  # there is not so much that may go
            continue
        told, now = ([shapes.get_dims(value) for value in m.graph.outputs] for m in (model, pruned))
        assert now == told
        assert shapes.list_known(pruned).dim_names <= shapes.list_known(model).dim_names


def test_outputs_that_an_infinite_bias_switches_off_stay_so() -> None:
    rng = np.random.default_rng(0)
    off = np.array([0, -np.inf, 0, -np.inf], np.float32)
    arrays = {"w": rng.standard_normal((8, 32)), "v": rng.standard_normal((32, 4))}
    made = build(
        "(float[n,8] x) => (float[n,4] y) { h = MatMul (x, w) r = Relu (h) z = MatMul (r, v) y = Add (z, off) }",
        off=off, **{name: array.astype(np.float32) for name, array in arrays.items()},
    )  # fmt: skip
    x = rng.standard_normal((64, 8)).astype(np.float32)
    result, report = prune(
        made, open_samples({"x": x}, made), PruneOptions(remove=0.2, of="params", round_to=1, min_layer_params=0)
    )
    assert report.changed["params"] > 0
    y = Session(result).run({"x": x})["y"]
    np.testing.assert_array_equal(np.isneginf(y), np.isneginf(off) & np.ones_like(y, bool))
