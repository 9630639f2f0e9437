"""Layers in cheaper forms, in whole models."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.model_io import model_file
from onnxslim.pruning.low_rank.factored_layers import find_factorizable, split_layers
from onnxslim.pruning.low_rank.factorization import Factorization
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import SessionConfig, check_loads
from tests.support import nets
from tests.support.nets import run

CONFIG = SessionConfig()


def one_conv(size: int = 3, **attributes: object) -> ir.Model:
    b = nets.Builder(["n", 6, 9, 9])
    bias = b.constant(b.rng.normal(size=8).astype(np.float32))
    given = {"pads": [size // 2] * 4} | attributes
    return b.model(b.op("Conv", "x", b.weight(8, 6, size, size), bias, **given))


GEOMETRIES = {
    "plain": {},
    "strided": {"strides": [2, 3]},
    "dilated": {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    "uneven padding": {"pads": [1, 2, 2, 1]},
    "automatic padding": {"auto_pad": "SAME_UPPER", "pads": [0, 0, 0, 0], "strides": [2, 2]},
    "valid": {"auto_pad": "VALID", "pads": [0, 0, 0, 0]},
}


@pytest.mark.parametrize("kind", ["channels", "spatial", "depthwise", "border"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_layer_apart_computes_what_it_did_in_one_piece(kind: str, name: str) -> None:
    given = dict(GEOMETRIES[name])
    if "auto_pad" in given:
        del given["pads"]
        if kind == "border":
            pytest.skip("such padding does not shrink with the kernel")
    model = one_conv(**given) if "auto_pad" not in given else auto(given)
    for one in find_factorizable(model, RunContext(nets.samples(model, 30))):
        for option in one.options:
            if option.factorization.kind != kind:
                continue
            whole = model_file.clone(model)
            LinearLayer(whole.graph[0]).assign(option.weight)
            apart = model_file.clone(whole)
            split_layers(apart, {one.layer.node_output: option.factorization})
            shapes.infer(apart)
            check_loads(apart)
            np.testing.assert_allclose(run(apart), run(whole), atol=2e-4)
            assert compute_cost(model).macs - compute_cost(apart).macs == pytest.approx(option.macs, rel=0.2)
            assert compute_cost(whole).params - compute_cost(apart).params == option.params


def auto(given: dict[str, object]) -> ir.Model:
    b = nets.Builder(["n", 6, 9, 9])
    return b.model(b.op("Conv", "x", b.weight(8, 6, 3, 3), **given))


@pytest.mark.parametrize("turned", [False, True])
def test_products_come_apart_too(turned: bool) -> None:
    b = nets.Builder(["n", 5, 24])
    if turned:
        added = b.op("Add", b.op("MatMul", "x", b.weight(24, 20)), b.weight(20))
        model = b.model(added)
    else:
        flat = b.op("Reshape", "x", b.constant(np.array([-1, 24])))
        model = b.model(b.gemm(flat, 24, 20))
    (one,) = find_factorizable(model, RunContext(nets.samples(model, 30)))
    whole = model_file.clone(model)
    LinearLayer(whole.graph[one.position]).assign(one.options[-1].weight)
    apart = model_file.clone(whole)
    split_layers(apart, {one.layer.node_output: one.options[-1].factorization})
    check_loads(apart)
    np.testing.assert_allclose(run(apart), run(whole), atol=1e-4)


def test_the_budget_is_met_with_cheaper_forms_among_the_choices() -> None:
    model = nets.residual(width=24)
    pruned, report = prune(model, nets.samples(model, 100), PruneOptions(remove=0.5, of="macs", low_rank=True, round_to=1))
    assert compute_cost(pruned).macs <= 0.5 * compute_cost(model).macs
    listed = report.details["low_rank"][0]
    assert all(option["macs"] > 0 for one in listed for option in one["options"])
    assert np.isfinite(run(pruned)).all()


def test_a_layer_of_low_rank_is_found_and_loses_nothing() -> None:
    model = nets.mlp((32, 48, 40, 5))
    weight = next(v for v in model.graph.initializers.values() if list(v.shape or ()) == [40, 48])
    rng = np.random.default_rng(0)
    thin = (rng.normal(size=(40, 4)) @ rng.normal(size=(4, 48))).astype(np.float32) / 8
    weight.const_value = ir.tensor(thin, name=weight.name)
    pruned, report = prune(model, nets.samples(model, 200), PruneOptions(remove=0.3, of="params", low_rank=True, round_to=1))
    assert report.changed["layers in a cheaper form"] >= 1
    exact = run(model)
    assert np.square(run(pruned) - exact).sum() < 0.02 * np.square(exact).sum()


def test_more_is_allowed_more_layers_take_cheaper_forms() -> None:
    model = nets.residual(width=16)
    counts = []
    for share in (1e-4, 0.3):
        _, report = prune(model, nets.samples(model, 60), PruneOptions(redundancy=share, low_rank=True, round_to=1))
        counts.append(int(report.changed.get("layers in a cheaper form", 0)))
    assert counts[0] < counts[1]


def test_without_data_weights_alone_are_cut() -> None:
    model = nets.residual(width=16)
    pruned, _ = prune(model, None, PruneOptions(remove=0.4, of="macs", low_rank=True, round_to=1))
    assert compute_cost(pruned).macs <= 0.6 * compute_cost(model).macs
    assert np.isfinite(run(pruned)).all()


def test_excluded_layers_keep_their_form() -> None:
    model = nets.residual(width=24)
    name = list(find_linear_layers(model.graph).values())[1].name
    _, report = prune(
        model,
        nets.samples(model, 60),
        PruneOptions(remove=0.2, of="params", low_rank=True, exclude=[f"^{name}$"], round_to=1),
    )
    assert name not in [one["node"] for one in report.details["low_rank"][0]]


def test_forms_go_by_the_layer_as_it_is_now() -> None:
    model = one_conv()
    split_layers(model, {next(iter(find_linear_layers(model.graph).values())).node_output: Factorization("channels", 8)})
    assert len(list(model.graph)) == 1, "a form that costs more than the layer was taken"
