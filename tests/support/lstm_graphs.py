"""LSTM layers as exporters write them: one or two directions, with and without what is optional, weights behind moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir

STEPS, BATCH, INPUTS, HIDDEN = 7, 2, 24, 32

#: Arguments of :func:`build_lstm` by what they are about.
LSTM_VARIANTS: dict[str, dict[str, Any]] = {
    "forward": {},
    "reverse": {"direction": "reverse"},
    "bidirectional": {"direction": "bidirectional"},
    "peepholes": {"peepholes": True},
    "sequence lengths": {"lengths": True},
    "initial states": {"states": True},
    "bidirectional with states and lengths": {"direction": "bidirectional", "states": True, "lengths": True},
    "last state alone": {"outputs": ("", "h")},
    "no bias": {"bias": False},
    "weights behind a Transpose and an Unsqueeze": {"moved": "Transpose"},
    "weights behind a Concat and an Unsqueeze": {"moved": "Concat"},
}


def build_lstm(
    *,
    direction: str = "forward",
    inputs: int = INPUTS,
    hidden: int = HIDDEN,
    peepholes: bool = False,
    lengths: bool = False,
    states: bool = False,
    bias: bool = True,
    outputs: tuple[str, ...] = ("y", "h", "c"),
    moved: str = "",
    steps: int = STEPS,
    seed: int = 0,
) -> ir.Model:
    """One LSTM called ``layer``; input ``x`` (steps, batch, inputs), weights of a trained net's size."""
    rng = np.random.default_rng(seed)
    directions = 2 if direction == "bidirectional" else 1

    def draw(*shape: int, scale: float) -> np.ndarray:
        return (rng.standard_normal((directions, *shape)) * scale).astype(np.float32)

    arrays = {"W": draw(4 * hidden, inputs, scale=inputs**-0.5), "R": draw(4 * hidden, hidden, scale=hidden**-0.5)}
    nodes = []
    if moved:
        arrays, nodes = _move_weights(arrays, moved)
    if bias:
        arrays["B"] = draw(8 * hidden, scale=0.1)
    if peepholes:
        arrays["P"] = draw(3 * hidden, scale=0.2)
    tensor = onnx.TensorProto
    graph_inputs = [onnx.helper.make_tensor_value_info("x", tensor.FLOAT, [steps, BATCH, inputs])]
    if lengths:
        graph_inputs.append(onnx.helper.make_tensor_value_info("lengths", tensor.INT32, [BATCH]))
    if states:
        for name in ("h0", "c0"):
            graph_inputs.append(onnx.helper.make_tensor_value_info(name, tensor.FLOAT, [directions, BATCH, hidden]))
    names = ["x", "W", "R", "B" * bias, "lengths" * lengths, "h0" * states, "c0" * states, "P" * peepholes]
    nodes.append(onnx.helper.make_node("LSTM", names, outputs, name="layer", hidden_size=hidden, direction=direction))
    shapes = {"y": [steps, directions, BATCH, hidden], "h": [directions, BATCH, hidden], "c": [directions, BATCH, hidden]}
    graph_outputs = [onnx.helper.make_tensor_value_info(name, tensor.FLOAT, shapes[name]) for name in outputs if name]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "g", graph_inputs, graph_outputs, initializers)
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))


def _move_weights(arrays: dict[str, np.ndarray], moved: str) -> tuple[dict[str, np.ndarray], list[onnx.NodeProto]]:
    """``arrays`` as (inputs, 4 · hidden), or in two parts, and the nodes that make W and R of them again."""
    stored: dict[str, np.ndarray] = {"axes": np.array([0], np.int64)}
    nodes = []
    for name, array in arrays.items():
        if moved == "Transpose":
            stored[f"{name}t"] = np.ascontiguousarray(array[0].T)
            nodes.append(onnx.helper.make_node("Transpose", [f"{name}t"], [f"{name}m"], perm=[1, 0]))
        else:
            stored[f"{name}1"], stored[f"{name}2"] = np.split(array[0], 2)
            nodes.append(onnx.helper.make_node("Concat", [f"{name}1", f"{name}2"], [f"{name}m"], axis=0))
        nodes.append(onnx.helper.make_node("Unsqueeze", [f"{name}m", "axes"], [name]))
    return stored, nodes


def make_feeds(model: ir.Model) -> dict[str, np.ndarray]:
    """Random inputs; the second sequence of the batch is the shorter one."""
    rng = np.random.default_rng(1)
    feeds: dict[str, np.ndarray] = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        drawn = rng.standard_normal([int(size) for size in value.shape]).astype(np.float32)  # type: ignore[arg-type]
        feeds[str(value.name)] = np.array([STEPS, STEPS - 3], np.int32) if value.name == "lengths" else drawn
    return feeds
