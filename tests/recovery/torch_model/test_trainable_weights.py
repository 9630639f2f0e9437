"""Which initializers are trained, and how quantised and sparse ones are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.model_io import model_file
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.recovery.torch_model.trainable_weights import find_weights
from onnxslim.runtime.session import Session, SessionConfig
from tests.support import torch_graphs as nets
from tests.support.torch_graphs import run_on_torch


def quantised(codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> object:
    """One Gemm whose int8 weights are dequantised along axis 0."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    rows, columns = codes.shape
    constants = {"q": codes, "s": scale, "z": zero}
    return nets.build(nodes, {"x": ["n", columns]}, {"y": ["n", rows]}, constants)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.booleans())
def test_codes_survive_the_way_through_the_latent_weight(seed: int, signed: bool) -> None:
    rng = np.random.default_rng(seed)
    kind = np.int8 if signed else np.uint8
    bounds = np.iinfo(kind)
    codes = rng.integers(bounds.min, bounds.max + 1, (4, 6)).astype(kind)
    scale = rng.uniform(1e-4, 10, 4).astype(np.float32)
    zero = rng.integers(bounds.min, bounds.max + 1, 4).astype(kind)
    model = quantised(codes, scale, zero)
    weight = TorchExecutor(model).weights["q"]
    np.testing.assert_array_equal(weight.to_array(), codes)
    np.testing.assert_array_equal(weight.compute_value().detach().numpy(), codes.astype(np.float32))


def test_a_quantised_layer_runs_as_in_the_runtime_and_keeps_its_codes_where_training_goes() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 128, (4, 6)).astype(np.int8)
    model = quantised(codes, np.full(4, 0.02, np.float32), np.zeros(4, np.int8))
    executor = TorchExecutor(model)
    with torch.no_grad():
        executor.parameters["q"].add_(0.047)
    result = model_file.clone(model)
    executor.write_back(result)
    feeds = {"x": rng.standard_normal((3, 6)).astype(np.float32)}
    expected = Session(result, SessionConfig(optimize=False)).run(feeds)["y"]
    np.testing.assert_allclose(run_on_torch(executor, feeds)["y"], expected, rtol=1e-4, atol=1e-5)
    moved = np.clip(np.rint((codes * 0.02 + 0.047) / 0.02), -128, 127)
    np.testing.assert_array_equal(nets.arrays(result)["q"], moved)


def test_an_int32_bias_keeps_its_digits() -> None:
    codes = np.array([2**24 + 1, -(2**24) - 1, 5], np.int32)
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s"], ["bias"], axis=0),
        helper.make_node("Gemm", ["x", "w", "bias"], ["y"]),
    ]
    constants = {"b": codes, "s": np.full(3, 2.0**-20, np.float32), "w": np.eye(3, dtype=np.float32)}
    weight = find_weights(nets.build(nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, constants).graph)["b"]
    assert np.abs(weight.to_array().astype(np.int64) - codes).max() <= 1


def test_zeros_of_a_sparse_weight_stay_zero_and_other_weights_are_free() -> None:
    model = nets.mlp()
    array = nets.arrays(model)["w1"]
    array[::2] = 0
    model.graph.initializers["w1"].const_value = nets.ir.tensor(array, name="w1")
    weights = find_weights(model.graph)
    with torch.no_grad():
        for weight in weights.values():
            weight.parameter.add_(1)
            weight.restore_zeros()
    assert (weights["w1"].to_array()[::2] == 0).all()
    assert (weights["w1"].to_array()[1::2] != 0).all()
    assert weights["w2"].mask is None


def test_constants_that_are_no_weights_are_left_alone() -> None:
    mask = np.triu(np.full((4, 4), -1e9, np.float32), 1)
    nodes = [
        helper.make_node("MatMul", ["x", "wt"], ["a"]),
        helper.make_node("Add", ["a", "mask"], ["b"]),
        helper.make_node("Add", ["b", "bias"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["y"]),
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
    ]
    constants = {
        "w": np.eye(4, dtype=np.float32),
        "mask": mask,
        "bias": np.zeros((1, 4), np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    graph = nets.build(nodes[-1:] + nodes[:-1], {"x": [4, 4]}, {"y": [4, 4]}, constants).graph
    assert sorted(find_weights(graph)) == ["bias", "w"]
