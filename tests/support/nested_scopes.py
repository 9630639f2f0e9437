"""Models whose nested graphs use each other's names: sibling branches, bodies within bodies, names of the graph around."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

WIDTH = 4

#: Few enough to collide in every scope, as values and as initializers.
_NAMES = ("w", "h", "v", "t")


@st.composite
def nested_scopes(draw: st.DrawFn) -> onnx.ModelProto:
    """A model of x (n, WIDTH) and a condition c; every name of its nested graphs may be the graph's around it as well."""
    nodes, initializers, result = _body(draw, ["x"], depth=0)
    nodes.append(helper.make_node("Identity", [result], ["y"]))
    rows = ["n", WIDTH]
    graph = helper.make_graph(
        nodes,
        "main",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, rows),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, rows)],
        initializers,
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def feeds_of_scopes() -> list[dict[str, np.ndarray]]:
    """Both ways through every branch."""
    x = np.random.default_rng(0).standard_normal((2, WIDTH)).astype(np.float32)
    return [{"x": x, "c": np.array(condition)} for condition in (True, False)]


def _body(draw: st.DrawFn, visible: list[str], depth: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], str]:
    """Nodes and initializers of one scope, and the name of what it ends in; ``visible`` are names it may read."""
    own = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=2))
    seeds = [draw(st.integers(0, 3)) for _ in own]
    initializers = [numpy_helper.from_array(_weight(seed), name) for name, seed in zip(own, seeds, strict=True)]
    nodes: list[onnx.NodeProto] = []
    readable, defined = [*visible, *own], set(own)
    for _ in range(draw(st.integers(1, 3))):
        free = [name for name in (*_NAMES, f"o{depth}") if name not in defined]
        if not free:
            break
        output = draw(st.sampled_from(free))
        kinds = ["Add", "Mul", "Neg"] + (["If", "Loop"] if depth < 2 else [])
        nodes.append(_node(draw, draw(st.sampled_from(kinds)), readable, output, depth))
        defined.add(output)
        readable.append(output)
    return nodes, initializers, nodes[-1].output[0]


def _node(draw: st.DrawFn, kind: str, readable: list[str], output: str, depth: int) -> onnx.NodeProto:
    def pick() -> str:
        return draw(st.sampled_from(readable))

    if kind == "If":
        branches = {name: _graph(draw, readable, depth) for name in ("then_branch", "else_branch")}
        return helper.make_node("If", ["c"], [output], **branches)
    if kind == "Loop":
        return helper.make_node("Loop", ["", "c", pick()], [output], body=_loop_body(draw, readable, depth))
    return helper.make_node(kind, [pick()] if kind == "Neg" else [pick(), pick()], [output])


def _graph(draw: st.DrawFn, readable: list[str], depth: int) -> onnx.GraphProto:
    nodes, initializers, result = _body(draw, readable, depth + 1)
    # The result of a branch has one shape either way: rows of x.
    nodes.append(helper.make_node("Add", [result, "x"], ["r"]))
    return helper.make_graph(nodes, "branch", [], [_untyped("r")], initializers)


def _loop_body(draw: st.DrawFn, readable: list[str], depth: int) -> onnx.GraphProto:
    """One round: the condition ends it."""
    nodes, initializers, result = _body(draw, [*readable, "a"], depth + 1)
    nodes.append(helper.make_node("Mul", [result, "a"], ["r"]))
    nodes.append(helper.make_node("Not", ["k"], ["stop"]))
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("k", TensorProto.BOOL, []),
        _untyped("a"),
    ]
    outputs = [helper.make_tensor_value_info("stop", TensorProto.BOOL, []), _untyped("r")]
    return helper.make_graph(nodes, "round", inputs, outputs, initializers)


def _untyped(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _weight(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)
