"""The executor: gradients, names, writing back, and what it says about what it cannot run."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.core.errors import UnsupportedError
from onnxslim.model_io import model_file
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.runtime.session import Session, SessionConfig
from tests.support import torch_graphs as nets
from tests.support.torch_graphs import run_on_torch

EXACT = SessionConfig(optimize=False)


def test_parameters_carry_the_names_of_initializers() -> None:
    assert list(TorchExecutor(nets.mlp()).parameters) == ["w1", "b1", "w2", "b2"]


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    executor = TorchExecutor(nets.mlp())
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32))

    def loss() -> torch.Tensor:
        return executor.run({"x": x})["y"].square().sum()

    loss().backward()
    for parameter in executor.parameters.values():
        place = int(parameter.grad.abs().argmax())
        step = 1e-2
        with torch.no_grad():
            flat = parameter.view(-1)
            flat[place] += step
            above = float(loss())
            flat[place] -= 2 * step
            below = float(loss())
            flat[place] += step
        assert (above - below) / (2 * step) == pytest.approx(float(parameter.grad.view(-1)[place]), rel=1e-2)


def test_writing_back_changes_the_named_model_and_neither_the_source_nor_its_outputs() -> None:
    model = nets.mlp()
    before = nets.arrays(model)
    executor = TorchExecutor(model)
    with torch.no_grad():
        executor.parameters["w1"].mul_(2)
    result = model_file.clone(model)
    executor.write_back(result)
    after = nets.arrays(result)
    np.testing.assert_allclose(after["w1"], 2 * before["w1"], rtol=1e-6)
    np.testing.assert_array_equal(after["w2"], before["w2"])
    np.testing.assert_array_equal(nets.arrays(model)["w1"], before["w1"])
    feeds = {"x": np.ones((2, 8), np.float32)}
    np.testing.assert_allclose(
        Session(result, EXACT).run(feeds)["y"], run_on_torch(executor, feeds)["y"], rtol=1e-4, atol=1e-5
    )


def test_a_cut_stops_the_gradient_and_not_the_value() -> None:
    executor = TorchExecutor(nets.mlp())
    x = torch.ones(2, 8)
    found = executor.run({"x": x}, ["h", "y"], detached=["h"])
    found["y"].sum().backward()
    assert executor.parameters["w1"].grad is None
    assert executor.parameters["w2"].grad is not None
    assert found["h"].requires_grad
    np.testing.assert_array_equal(found["y"].detach(), executor.run({"x": x})["y"].detach())


def test_rounding_in_the_middle_lets_gradients_through_and_saturation_stops_them() -> None:
    constants = {"s": np.float32(0.1), "z": np.uint8(0), "w": np.eye(3, dtype=np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    executor = TorchExecutor(nets.build(nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, constants))
    x = torch.tensor([[1.234, -5.0, 100.0]])
    y = executor.run({"x": x})["y"]
    np.testing.assert_allclose(y.detach().numpy(), [[1.2, 0.0, 25.5]], rtol=1e-6)
    y.sum().backward()
    slope = executor.parameters["w"].grad
    np.testing.assert_allclose(slope[0].numpy(), [1.234, 0, 0], rtol=1e-6)


def test_both_branches_of_an_if_run_and_capture_what_lies_outside() -> None:
    def branch(name: str, op: str) -> object:
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x", "w"], [f"{name}_y"])], name, [], [out])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("a", "Add"), else_branch=branch("b", "Sub")),
    ]
    constants = {"zero": np.float32(0), "w": np.arange(4, dtype=np.float32)}
    model = nets.build(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, constants)
    for sign in (1, -1):
        feeds = {"x": np.full((2, 4), sign, np.float32)}
        np.testing.assert_array_equal(run_on_torch(TorchExecutor(model), feeds)["y"], Session(model, EXACT).run(feeds)["y"])


def test_a_float16_weight_is_trained_in_float32_and_stored_as_it_was() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["x16", "w"], ["y16"]),
        helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT),
    ]
    model = nets.build(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, {"w": np.eye(4, dtype=np.float16)})
    executor = TorchExecutor(model)
    assert executor.parameters["w"].dtype == torch.float32
    result = model_file.clone(model)
    executor.write_back(result)
    assert nets.arrays(result)["w"].dtype == np.float16


def test_an_operator_without_a_rule_is_named_with_its_node() -> None:
    node = helper.make_node("NonMaxSuppression", ["x", "x"], ["y"], "boxes")
    model = nets.build([node], {"x": [1, 2, 4]}, {"y": ["n", 3]}, {})
    with pytest.raises(UnsupportedError, match="boxes: no rule for NonMaxSuppression"):
        TorchExecutor(model)


def test_an_operator_that_fails_is_named_with_its_node() -> None:
    model = nets.mlp()
    with pytest.raises(UnsupportedError, match=r"first \(Gemm\) fails on torch"):
        run_on_torch(TorchExecutor(model), {"x": np.ones((2, 7), np.float32)})


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_recurrent_layer_learns_and_agrees_with_the_runtime(kind: str) -> None:
    rng = np.random.default_rng(0)
    gates = {"LSTM": 4, "GRU": 3}[kind]
    constants = {
        "w": rng.standard_normal((2, gates * 6, 5)).astype(np.float32),
        "r": rng.standard_normal((2, gates * 6, 6)).astype(np.float32),
        "b": rng.standard_normal((2, 2 * gates * 6)).astype(np.float32),
    }
    node = helper.make_node(kind, ["x", "w", "r", "b"], ["y"], direction="bidirectional", hidden_size=6)
    model = nets.build([node], {"x": [7, "n", 5]}, {"y": [7, 2, "n", 6]}, constants)
    executor = TorchExecutor(model)
    feeds = {"x": rng.standard_normal((7, 3, 5)).astype(np.float32)}
    np.testing.assert_allclose(run_on_torch(executor, feeds)["y"], Session(model, EXACT).run(feeds)["y"], atol=1e-5)
    executor.run({"x": torch.from_numpy(feeds["x"])})["y"].square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in executor.parameters.values())


def test_a_function_of_the_model_is_run() -> None:
    inner = helper.make_node("Relu", ["a"], ["b"])
    function = helper.make_function("local", "Twice", ["a"], ["b"], [inner], [helper.make_opsetid("", 17)])
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="local")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model = ir.from_proto(helper.make_model(graph, functions=[function], opset_imports=opsets))
    np.testing.assert_array_equal(run_on_torch(TorchExecutor(model), {"x": np.array([-1, 2], np.float32)})["y"], [0, 2])
