"""What a model costs, counted as the contract says: parameters, multiply-accumulates at batch 1, bytes of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import initializers, tensor
from onnxslim.graph.propagate import propagate

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
#: Weights that were float before they were quantised; counting them keeps the parameter ratio of an int8 model honest.
QUANTISED = frozenset(
    {ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT16, ir.DataType.UINT16}
)


@dataclass(frozen=True)
class NodeCost:
    """The cost of one node: elements of its own constant inputs, and multiply-accumulates at batch 1."""

    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The cost of a model.

    Attributes:
        params: Elements of all float (or quantised) initializers, each counted once.
        macs: Multiply-accumulates of one sample; no bias, no elementwise.
        nodes: By node name, for the nodes that multiply.
        unknown: Names of multiplying nodes whose shapes are not known; they count as 0.
    """

    params: int
    macs: int
    nodes: dict[str, NodeCost] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def cost(model: ir.Model, dims: Mapping[str, int] | None = None) -> Cost:
    """Count ``model`` at batch 1; free dimensions come from ``dims``, else 1, or 224 for spatial ones."""
    bound = model.clone()
    total = params(bound)
    shapes.bind(bound, dims)
    propagate(bound)
    nodes: dict[str, NodeCost] = {}
    unknown: list[str] = []
    for index, node in enumerate(bound.graph.all_nodes()):
        count = MACS.get(node.op_type) if node.domain in ("", "ai.onnx", "com.microsoft") else None
        if count is None:
            continue
        name = node.name or f"{node.op_type}_{index}"
        macs = count(node)
        if macs is None:
            unknown.append(name)
        own = sum(found.size for value in node.inputs if (found := tensor(value)) is not None)
        nodes[name] = NodeCost(own, macs or 0)
    return Cost(total, sum(n.macs for n in nodes.values()), nodes, tuple(unknown))


def params(model: ir.Model) -> int:
    """Elements of float initializers and Constant nodes; quantised weights of two or more axes count, scales do not."""
    total = 0
    for _, _, value in initializers(model):
        found = value.const_value
        if found is not None and not _is_scale(value):
            total += _elements(found)
    for node in model.graph.all_nodes():
        if node.op_type == "Constant" and (found := tensor(node.outputs[0])) is not None:
            total += _elements(found)
    return total


def _is_scale(value: ir.Value) -> bool:
    """Whether only Q/DQ nodes read ``value``, as a scale or zero point: part of a number format, not a parameter."""
    uses = list(value.uses())
    return bool(uses) and all(use.node.op_type in ("QuantizeLinear", "DequantizeLinear") and use.idx for use in uses)


def _elements(found: ir.TensorProtocol) -> int:
    if found.dtype in FLOATS or (found.dtype in QUANTISED and len(found.shape) > 1):
        return int(found.size)
    return 0


def _batch_free(dims: tuple[int, ...]) -> int:
    return math.prod(dims[2:])


def _conv(node: ir.Node) -> int | None:
    weight, out = shapes.static(node.inputs[1]), shapes.static(node.outputs[0])
    if weight is None or out is None:
        return None
    return math.prod(weight) * _batch_free(out)


def _conv_transpose(node: ir.Node) -> int | None:
    weight, into = shapes.static(node.inputs[1]), shapes.static(node.inputs[0])
    if weight is None or into is None:
        return None
    return math.prod(weight) * _batch_free(into)


def _matmul(node: ir.Node) -> int | None:
    left, right = shapes.static(node.inputs[0]), shapes.static(node.outputs[0])
    if not left or right is None:
        return None
    return left[-1] * math.prod(right)


def _gemm(node: ir.Node) -> int | None:
    left, out = shapes.static(node.inputs[0]), shapes.static(node.outputs[0])
    if left is None or out is None or len(left) != 2:
        return None
    transposed = node.attributes.get_int("transA", 0)
    return left[0 if transposed else 1] * math.prod(out)


#: op type -> multiply-accumulates of one node, None when a shape is missing
MACS: dict[str, Callable[[ir.Node], int | None]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "Gemm": _gemm,
}
