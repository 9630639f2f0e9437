"""Models from ONNX helper nodes whose outputs are known by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


#: A float tensor of this shape, an element type and a shape, or the whole description.
Described = Sequence[int | str | None] | tuple[int, Sequence[int | str | None]] | ValueInfoProto


def build(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Described],
    outputs: Mapping[str, Described],
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
) -> ir.Model:
    """A model from ONNX helper nodes."""

    def info(name: str, kind: Described) -> ValueInfoProto:
        if isinstance(kind, ValueInfoProto):
            return kind
        return helper.make_tensor_value_info(name, *(kind if isinstance(kind, tuple) else (FLOAT, kind)))

    graph = helper.make_graph(
        list(nodes),
        "g",
        [info(name, kind) for name, kind in inputs.items()],
        [info(name, kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9))


def chain(scale: dict[int, float] | None = None, length: int = 6) -> ir.Model:
    """x → t0 → t1 → …, each a matrix product; ``scale`` disturbs the weight of some."""
    draw = np.random.default_rng(0)
    weights = {f"w{i}": np.linalg.qr(draw.normal(size=(8, 8)))[0].astype(np.float32) for i in range(length)}
    for i, factor in (scale or {}).items():
        weights[f"w{i}"] = weights[f"w{i}"] + np.float32(factor) * np.roll(weights[f"w{i}"], 1, axis=0)
    names = ["x", *(f"t{i}" for i in range(length - 1)), "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], f"n{i}") for i in range(length)]
    return build(nodes, {"x": (FLOAT, ["batch", 8])}, {"y": (FLOAT, ["batch", 8])}, weights)


def two_outputs() -> ir.Model:
    """A label (int64) before the scores, as scikit-learn's exporter writes them, and a score of one column."""
    return build(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"]),
            helper.make_node("Identity", ["x"], ["scores"]),
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        ],
        {"x": (FLOAT, ["batch", 10])},
        {"label": (TensorProto.INT64, ["batch"]), "sum": (FLOAT, ["batch", 1]), "scores": (FLOAT, ["batch", 10])},
        {"axes": np.array([1])},
    )
