"""Repair of whole models: what is exact stays exact, what is not comes closer, whatever the graph looks like."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.graph.layers import find_linear_layers
from onnxslim.pruning.low_rank.factorization import Factorization
from onnxslim.pruning.reconstruction.fold_rows import FoldRows
from onnxslim.pruning.reconstruction.kept_channels import KeptChannels
from onnxslim.pruning.reconstruction.layerwise import reconstruct_layers
from onnxslim.runtime.session import Session
from tests.support import nets
from tests.support.mask_oracle import remove_units


def outputs(model: ir.Model, x: np.ndarray) -> np.ndarray:
    session = Session(model)
    return np.asarray(next(iter(session.run({session.inputs[0]: x}).values())))


def error(model: ir.Model, other: ir.Model, seed: int = 99) -> float:
    data = next(iter(nets.samples(model, 64, seed).batches(64)))
    a, b = outputs(model, data["x"]), outputs(other, data["x"])
    return float(np.square(a - b).sum() / np.square(a).sum())


def prune_every_third(model: ir.Model) -> tuple[ir.Model, KeptChannels]:
    analysis = analyze_channels(model)
    mask = analysis.spare(np.arange(0, analysis.count, 3))
    return remove_units(model, mask, analysis), KeptChannels().after_removing(analysis, mask)


@pytest.mark.parametrize("make", [nets.residual, nets.mobile, nets.mlp])
def test_repair_brings_the_outputs_closer(make: object) -> None:
    model = make()  # type: ignore[operator]
    pruned, kept = prune_every_third(model)
    before = error(model, pruned)
    report = reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, 200)))
    assert error(model, pruned) < 0.6 * before
    assert report.changed["layers repaired"] > 0


def test_channels_that_say_the_same_are_repaired_exactly() -> None:
    model = nets.mlp((16, 24, 5))
    first, second = find_linear_layers(model.graph).values()
    weight = first.matrix()
    weight[0, 12:] = weight[0, :12] * 2
    first.assign(weight)
    analysis = analyze_channels(model)
    mask = analysis.to_mask([u for u in range(analysis.count) if u >= 12])
    assert mask.sum() == 12
    pruned = remove_units(model, mask, analysis)
    assert error(model, pruned) > 0.01
    kept = KeptChannels().after_removing(analysis, mask)
    reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, 300)))
    assert error(model, pruned) < 1e-6
    assert second.name in [layer.name for layer in find_linear_layers(pruned.graph).values()]


def test_a_model_that_lost_nothing_is_left_alone() -> None:
    model = nets.residual()
    same = model.clone()
    report = reconstruct_layers(same, model, KeptChannels(), RunContext(nets.samples(model, 40)))
    assert not report.changed
    assert error(model, same) == 0.0


def test_layers_before_the_cut_are_left_alone() -> None:
    model = nets.mlp((16, 32, 24, 5))
    analysis = analyze_channels(model)
    mask = analysis.to_mask([analysis.count - 1])
    pruned = remove_units(model, mask, analysis)
    kept = KeptChannels().after_removing(analysis, mask)
    report = reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, 100)))
    assert [entry["node"] for entry in report.details["repair"]] == [list(find_linear_layers(model.graph).values())[-1].name]


@pytest.mark.parametrize("few", [5, 12, 30])
def test_too_few_samples_are_said_and_do_no_harm(few: int) -> None:
    model = nets.mlp((16, 64, 64, 5))
    pruned, kept = prune_every_third(model)
    before = error(model, pruned)
    report = reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, few)))
    assert error(model, pruned) < 1.1 * before
    assert any("regularised" in warning for warning in report.warnings)


def test_without_a_sample_to_hold_back_nothing_is_fitted() -> None:
    model = nets.mlp()
    pruned, kept = prune_every_third(model)
    report = reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, 4)))
    assert not report.changed
    assert "4 samples" in report.warnings[0]


def upsampling() -> ir.Model:
    """Convolutions and a transposed one of overlapping taps, as decoders have them."""
    b = nets.Builder(["n", 3, 8, 8])
    x = b.op("Relu", b.conv(b.op("Relu", b.conv("x", 3, 12)), 12, 12))
    weight, bias = b.weight(12, 8, 4, 4), b.constant(np.zeros(8, np.float32))
    x = b.op("Relu", b.op("ConvTranspose", x, weight, bias, strides=[2, 2], pads=[1, 1, 1, 1]))
    return b.model(b.conv(x, 8, 4))


def test_a_transposed_convolution_is_repaired_like_any_other() -> None:
    model = upsampling()
    pruned, kept = prune_every_third(model)
    before = error(model, pruned)
    report = reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, 200)))
    repaired = {entry["node"]: entry for entry in report.details["repair"]}
    name = next(node.name for node in pruned.graph if node.op_type == "ConvTranspose")
    assert repaired[name]["after"] < repaired[name]["before"]
    assert error(model, pruned) < 0.6 * before


def test_what_is_too_wide_for_least_squares_gets_its_means_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.pruning.reconstruction.layerwise.MAX_GRAM_COLUMNS", 10)
    model = nets.mlp((16, 32, 24, 5))
    pruned, kept = prune_every_third(model)
    before = error(model, pruned)
    report = reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, 200)))
    assert error(model, pruned) < before
    assert any("only its means" in one.reason for one in report.skipped)


def test_it_says_how_many_samples_would_help() -> None:
    model = nets.mlp((16, 64, 64, 5))
    said = {}
    for count in (60, 2000):
        pruned, kept = prune_every_third(model)
        report = reconstruct_layers(pruned, model, kept, RunContext(nets.samples(model, count)))
        said[count] = [line for line in report.warnings if "for want of more" in line]
        assert all(entry["seen"] <= entry["after"] * 1.001 for entry in report.details["repair"])
    assert len(said[60]) == 1
    assert not said[2000]


@pytest.mark.parametrize("is_wide", [False, True])
def test_a_layer_in_a_cheaper_form_is_judged_by_the_folds_that_there_are(
    is_wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Gram matrices of all folds would not fit one judges, also where least squares found nothing to gain."""
    if is_wide:
        monkeypatch.setattr("onnxslim.pruning.reconstruction.fold_moments.MAX_HELD_BYTES", 0)
    model = nets.mlp((16, 32, 24, 5))
    same = model.clone()
    layers = list(find_linear_layers(same.graph).values())
    forms = {layer.node_output: Factorization("channels", 4) for layer in layers[:2]}
    report = reconstruct_layers(same, model, KeptChannels(), RunContext(nets.samples(model, 60)), factorizations=forms)
    repaired = {entry["node"]: entry for entry in report.details["repair"]}
    for layer in layers[:2]:
        assert np.linalg.matrix_rank(layer.matrix()[0, :, :-1], tol=1e-4) <= 4
        assert 0 < repaired[layer.name]["after"] < 1


def test_a_layer_in_a_cheaper_form_whose_rows_tell_no_sample_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.mlp((16, 32, 24, 5))
    same = model.clone()
    first, *_ = find_linear_layers(same.graph).values()
    original_rows = FoldRows.add

    def add_rows(self: FoldRows, indices: range, *rest: object, **places: object) -> None:
        original_rows(self, [5 * index for index in indices], *rest, **places)  # type: ignore[arg-type]

    monkeypatch.setattr(FoldRows, "add", add_rows)
    forms = {first.node_output: Factorization("channels", 4)}
    reconstruct_layers(same, model, KeptChannels(), RunContext(nets.samples(model, 60)), factorizations=forms)
    assert np.linalg.matrix_rank(first.matrix()[0, :, :-1], tol=1e-4) <= 4
