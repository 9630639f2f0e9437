"""Gradient importance: what a weight scores is what the loss would feel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.recovery.step import compute_gradient_importance
from tests.support import torch_graphs as nets


def linear(weight: np.ndarray) -> ir.Model:
    """y = x · w, which is no class score: rank 3."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return nets.build([node], {"x": ["n", 2, 4]}, {"y": ["n", 2, 3]}, {"w": weight})


def test_fisher_of_a_linear_map_is_what_the_formula_gives() -> None:
    # y = x·w under a Gaussian of its own root mean square s: E[(∂L/∂w)²] = Σ x² / s² for each sample.
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 3)).astype(np.float32)
    x = (rng.standard_normal((3000, 2, 4)) * [1, 2, 3, 4]).astype(np.float32)
    model = linear(weight)
    found = compute_gradient_importance(model, open_samples({"x": x}, model), "fisher", batch_size=10)["w"]
    s2 = ((x @ weight) ** 2).mean()
    expected = 0.5 * weight**2 * ((x**2).sum(1).mean(0) / s2)[:, None]
    np.testing.assert_allclose(found, expected, rtol=0.35)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("kind", ["taylor", "fisher"])
def test_a_unit_that_nobody_reads_scores_nothing_and_one_that_decides_scores_most(kind: str) -> None:
    model = nets.mlp()
    weights = nets.arrays(model)
    weights["w2"][0], weights["w2"][1] = 0, 10 * weights["w2"][1]
    model.graph.initializers["w2"].const_value = ir.tensor(weights["w2"], name="w2")
    scores = compute_gradient_importance(model, nets.rows(), kind)
    assert {name: score.shape for name, score in scores.items()} == {n: a.shape for n, a in weights.items()}
    assert all(score.dtype == np.float32 and (score >= 0).all() for score in scores.values())
    into = scores["w1"].sum(0) + scores["b1"]
    assert into[0] == 0
    assert int(np.argmax(into)) == 1


def test_taylor_uses_labels_where_there_are_any_and_fisher_does_not() -> None:
    model = nets.mlp()
    plain, labelled = nets.rows(64), nets.rows(64, labels=np.zeros(64, np.int64))
    for kind, same in (("taylor", False), ("fisher", True)):
        a, b = (
            compute_gradient_importance(model, plain, kind)["w2"],
            compute_gradient_importance(model, labelled, kind)["w2"],
        )
        assert np.array_equal(a, b) == same


def test_the_same_seed_gives_the_same_scores() -> None:
    first, again, other = (compute_gradient_importance(nets.mlp(), nets.rows(64), "fisher", seed=s)["w1"] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_cannot_be_scored_is_refused() -> None:
    empty = nets.build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 8]}, {"y": ["n", 8]}, {})
    with pytest.raises(UnsupportedError, match="no weights"):
        compute_gradient_importance(empty, nets.rows(16))
    with pytest.raises(UsageError, match="no gradient importance magic"):
        compute_gradient_importance(nets.mlp(), nets.rows(16), "magic")
