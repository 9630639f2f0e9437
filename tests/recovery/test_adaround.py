"""AdaRound: codes one step away at most, and layers nearer to their float selves."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.recovery.step import round_weights
from onnxslim.runtime.session import Session
from tests.support import torch_graphs as nets


def four_bits(weight: np.ndarray) -> ir.Model:
    """A Gemm whose weights have few levels, so that rounding matters."""
    scale = (np.abs(weight).max(1) / 7).astype(np.float32)
    codes = np.clip(np.rint(weight / scale[:, None]), -7, 7).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], "weights", axis=0),
        helper.make_node("Gemm", ["x", "w"], ["y"], "layer", transB=1),
    ]
    rows, columns = weight.shape
    return nets.build(nodes, {"x": ["n", columns]}, {"y": ["n", rows]}, {"q": codes, "s": scale})


def correlated(count: int, columns: int, seed: int) -> np.ndarray:
    """Inputs of low rank: errors of rounding can cancel in them."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).standard_normal((4, columns))
    return (rng.standard_normal((count, 4)) @ mixing + 0.1 * rng.standard_normal((count, columns))).astype(np.float32)


def test_a_layer_comes_nearer_to_its_float_self_by_choosing_between_neighbouring_codes() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 24)).astype(np.float32)
    model = four_bits(weight)
    samples = open_samples({"x": correlated(256, 24, 1)}, model)
    result, report = round_weights(model, {"q": weight}, samples, iterations=400)
    unseen = correlated(500, 24, 2)
    wanted = unseen @ weight.T
    errors = [float(((Session(m).run({"x": unseen})["y"] - wanted) ** 2).mean()) for m in (model, result)]
    assert errors[1] < 0.5 * errors[0]
    codes = [nets.arrays(m)["q"].astype(int) for m in (model, result)]
    assert np.abs(codes[0] - codes[1]).max() == 1
    assert report.changed == {"layers rounded anew": 1}
    assert report.details["layer_error"]["q"]["after"] < report.details["layer_error"]["q"]["before"]


def test_the_same_seed_gives_the_same_codes() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 24)).astype(np.float32)
    model = four_bits(weight)
    samples = open_samples({"x": correlated(128, 24, 1)}, model)
    first, again = (round_weights(model, {"q": weight}, samples, iterations=100)[0] for _ in range(2))
    assert model_file.to_bytes(first) == model_file.to_bytes(again)


def test_weights_that_are_not_behind_one_layer_are_declined_and_wrong_shapes_refused() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 24)).astype(np.float32)
    model = four_bits(weight)
    samples = open_samples({"x": correlated(64, 24, 1)}, model)
    result, report = round_weights(model, {"s": np.ones(6, np.float32)}, samples, iterations=1)
    assert [d.node for d in report.skipped] == ["s"]
    assert model_file.to_bytes(result) == model_file.to_bytes(model)
    with pytest.raises(InvalidDataError, match="shape"):
        round_weights(model, {"q": weight.T}, samples, iterations=1)
