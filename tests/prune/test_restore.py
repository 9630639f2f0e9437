"""Repair of whole models: what is exact stays exact, what is not comes closer, whatever the graph looks like."""

from __future__ import annotations

import sys

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.account import Account
from onnxslim.channels.analysis import units
from onnxslim.channels.rewrite import remove
from onnxslim.progress import silent
from onnxslim.prune import layers
from onnxslim.prune.kept import Kept
from onnxslim.prune.restore import restore
from onnxslim.runtime.session import Session, SessionConfig
from tests.prune import nets


def outputs(model: ir.Model, x: np.ndarray) -> np.ndarray:
    session = Session(model)
    return np.asarray(next(iter(session.run({session.inputs[0]: x}).values())))


def error(model: ir.Model, other: ir.Model, seed: int = 99) -> float:
    data = next(iter(nets.samples(model, 64, seed).batches(64)))
    a, b = outputs(model, data["x"]), outputs(other, data["x"])
    return float(np.square(a - b).sum() / np.square(a).sum())


def prune_every_third(model: ir.Model) -> tuple[ir.Model, Kept]:
    analysis = units(model)
    mask = analysis.spare(np.arange(0, analysis.count, 3))
    return remove(model, mask, analysis)[0], Kept().then(analysis, mask)


@pytest.mark.parametrize("make", [nets.residual, nets.mobile, nets.mlp])
def test_repair_brings_the_outputs_closer(make: object) -> None:
    model = make()  # type: ignore[operator]
    pruned, kept = prune_every_third(model)
    before = error(model, pruned)
    account = Account("repair")
    restore(pruned, model, kept, nets.samples(model, 200), SessionConfig(), account, silent)
    assert error(model, pruned) < 0.6 * before
    assert account.changed["layers repaired"] > 0


def test_channels_that_say_the_same_are_repaired_exactly() -> None:
    model = nets.mlp((16, 24, 5))
    first, second = layers.find(model.graph)
    nodes = list(model.graph)
    weight = layers.matrix(first, nodes[first.position])
    weight[0, 12:] = weight[0, :12] * 2
    layers.assign(first, nodes[first.position], weight)
    analysis = units(model)
    mask = analysis.mask([u for u in range(analysis.count) if u >= 12])
    assert mask.sum() == 12
    pruned, _ = remove(model, mask, analysis)
    assert error(model, pruned) > 0.01
    kept = Kept().then(analysis, mask)
    restore(pruned, model, kept, nets.samples(model, 300), SessionConfig(), Account("repair"), silent)
    assert error(model, pruned) < 1e-6
    assert second.name in [layer.name for layer in layers.find(pruned.graph)]


def test_a_model_that_lost_nothing_is_left_alone() -> None:
    model = nets.residual()
    same = model.clone()
    account = Account("repair")
    restore(same, model, Kept(), nets.samples(model, 40), SessionConfig(), account, silent)
    assert not account.changed
    assert error(model, same) == 0.0


def test_layers_before_the_cut_are_left_alone() -> None:
    model = nets.mlp((16, 32, 24, 5))
    analysis = units(model)
    mask = analysis.mask(analysis.unit(analysis.count - 1).id == np.arange(analysis.count))
    pruned, _ = remove(model, mask, analysis)
    account = Account("repair")
    restore(pruned, model, Kept().then(analysis, mask), nets.samples(model, 100), SessionConfig(), account, silent)
    assert [entry["node"] for entry in account.details["repair"]] == [layers.find(model.graph)[-1].name]


@pytest.mark.parametrize("few", [5, 12, 30])
def test_too_few_samples_are_said_and_do_no_harm(few: int) -> None:
    model = nets.mlp((16, 64, 64, 5))
    pruned, kept = prune_every_third(model)
    before = error(model, pruned)
    account = Account("repair")
    restore(pruned, model, kept, nets.samples(model, few), SessionConfig(), account, silent)
    assert error(model, pruned) < 1.1 * before
    assert any("regularised" in warning for warning in account.warnings)


def test_without_a_sample_to_hold_back_nothing_is_fitted() -> None:
    model = nets.mlp()
    pruned, kept = prune_every_third(model)
    account = Account("repair")
    restore(pruned, model, kept, nets.samples(model, 4), SessionConfig(), account, silent)
    assert not account.changed
    assert "4 samples" in account.warnings[0]


def test_kept_slots_compose_over_rounds() -> None:
    model = nets.mlp((16, 32, 5))
    analysis = units(model)
    first = analysis.mask(np.arange(0, 32, 2))
    pruned, _ = remove(model, first, analysis)
    again = units(pruned)
    second = again.mask(np.arange(0, 16, 2))
    kept = Kept().then(analysis, first).then(again, second)
    tensor = layers.find(model.graph)[0].output
    axis = kept(tensor)[1]
    assert axis is not None
    np.testing.assert_array_equal(axis, np.arange(32)[1::2][1::2])


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
    account = Account("repair")
    before = error(model, pruned)
    restore(pruned, model, kept, nets.samples(model, 200), SessionConfig(), account, silent)
    repaired = {entry["node"]: entry for entry in account.details["repair"]}
    name = next(node.name for node in pruned.graph if node.op_type == "ConvTranspose")
    assert repaired[name]["after"] < repaired[name]["before"]
    assert error(model, pruned) < 0.6 * before


def test_what_is_too_wide_for_least_squares_gets_its_means_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["onnxslim.prune.restore"], "WIDE", 10)
    model = nets.mlp((16, 32, 24, 5))
    pruned, kept = prune_every_third(model)
    account = Account("repair")
    before = error(model, pruned)
    restore(pruned, model, kept, nets.samples(model, 200), SessionConfig(), account, silent)
    assert error(model, pruned) < before
    assert any("only its means" in one.reason for one in account.declined)
