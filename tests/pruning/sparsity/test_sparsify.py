"""Zeros in whole models."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import GateError
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.sparsity.sparsify import MIN_INPUT_COLUMNS
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session
from tests.support import nets


def matrices(model: ir.Model) -> list[tuple[LinearLayer, np.ndarray]]:
    found = [(layer, layer.matrix()[..., :-1]) for layer in find_linear_layers(model.graph).values()]
    return [(layer, weight) for layer, weight in found if weight.shape[2] >= MIN_INPUT_COLUMNS]


def error(model: ir.Model, other: ir.Model) -> float:
    x = next(iter(nets.samples(model, 64, 99).batches(64)))["x"]
    a, b = (next(iter(Session(m).run({"x": x}).values())) for m in (model, other))
    return float(np.square(a - b).sum() / np.square(a).sum())


@pytest.mark.parametrize("n", [0, 80])
def test_the_share_of_zeros_is_met_and_no_channel_goes(n: int) -> None:
    model = nets.residual(width=16)
    pruned, report = prune(model, nets.samples(model, n) if n else None, PruneOptions(sparsity=0.5))
    weights = np.concatenate([weight.ravel() for _, weight in matrices(pruned)])
    assert (weights == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert "units" not in report.changed
    assert report.changed["zeros"] == (weights == 0).sum()
    assert report.details["zeros"]["compressed_bytes"][1] < report.details["zeros"]["compressed_bytes"][0]
    assert any("no faster" in warning for warning in report.warnings)


@pytest.mark.parametrize("n", [0, 80])
def test_a_pattern_runs_along_the_input_channels(n: int) -> None:
    model = nets.residual(width=16)
    pruned, _ = prune(model, nets.samples(model, n) if n else None, PruneOptions(sparsity="2:4"))
    found = [(layer, weight) for layer, weight in matrices(pruned) if layer.kernel_size > 1]
    assert found
    for layer, weight in found:
        by_kernel = weight.reshape(weight.shape[1], -1, layer.kernel_size).transpose(0, 2, 1)
        assert ((by_kernel.reshape(-1, 4) != 0).sum(axis=1) == 2).all()


def test_data_make_zeros_less_harmful() -> None:
    model = nets.mlp((48, 64, 64, 5))
    blind, _ = prune(model, None, PruneOptions(sparsity=0.5))
    seeing, _ = prune(model, nets.samples(model, 400), PruneOptions(sparsity=0.5))
    assert error(model, seeing) < 0.7 * error(model, blind)


def test_zeros_and_channels_together() -> None:
    model = nets.residual(width=16)
    pruned, report = prune(model, nets.samples(model, 60), PruneOptions(remove=0.2, of="macs", round_to=1, sparsity=0.3))
    assert report.changed["units"] > 0
    assert report.changed["zeros"] > 0
    assert error(model, pruned) < 1


@pytest.mark.parametrize("n", [0, 80])
def test_tiles_and_thresholds(n: int) -> None:
    model = nets.mlp((48, 64, 64, 5))
    data = nets.samples(model, n) if n else None
    tiled, _ = prune(model, data, PruneOptions(sparsity="50%:1x4"))
    for _, weight in matrices(tiled):
        counts = (weight.reshape(-1, 4) != 0).sum(axis=1)
        assert set(counts.tolist()) <= {0, 4}
    below, _ = prune(model, data, PruneOptions(sparsity="<0.05"))
    smallest = min(np.abs(weight[weight != 0]).min() for _, weight in matrices(below)[:1])
    assert smallest >= (0.05 if n == 0 else 0)
    assert all((weight == 0).any() for _, weight in matrices(below))


def test_uniform_takes_the_same_share_from_every_layer() -> None:
    model = nets.mlp((48, 64, 64, 5))
    pruned, _ = prune(model, None, PruneOptions(sparsity=0.5, uniform=True))
    assert [float((weight == 0).mean()) for _, weight in matrices(pruned)] == pytest.approx([0.5] * 3, abs=0.01)


def test_a_model_without_a_layer_wide_enough_is_refused() -> None:
    with pytest.raises(GateError, match="no layer is left"):
        prune(nets.mlp((8, 8, 3)), None, PruneOptions(sparsity=0.5))


def test_a_shared_weight_is_not_copied_for_zeros() -> None:
    b = nets.Builder(["n", 40])
    shared = b.weight(40, 40)
    x = b.op("Relu", b.op("MatMul", "x", shared))
    model = b.model(b.gemm(b.op("Relu", b.op("MatMul", x, shared)), 40, 5))
    pruned, report = prune(model, None, PruneOptions(sparsity=0.5))
    assert sum("shared" in one.reason for one in report.skipped) == 2
    assert len(pruned.graph.initializers) == len(model.graph.initializers)
