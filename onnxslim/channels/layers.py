"""Layers: what the reach counts, and the multiplications that units save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.channels.book import Book
from onnxslim.channels.op import Op
from onnxslim.channels.trace import Flat
from onnxslim.channels.units import Layer
from onnxslim.graph import shapes
from onnxslim.graph.cost import MACS, cost

#: op type -> the axis of its output that carries its channels (for MatMul with the weight on the left: -2).
CHANNELS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}


def layers(book: Book, graph: ir.Graph) -> Iterator[Layer]:
    """Every layer with a constant weight, how many of its channels are free, and what holds the others."""
    found = [(op, _made(op)) for _, op in book.collected.ops]
    layer_of = {op.node: slots for op, slots in found if slots is not None}
    outermost = _outermost(graph, layer_of)
    for op, slots in found:
        if slots is None:
            continue
        free = book.free(slots)
        why = next(iter(book.pins(slots)), ("", "")) if free < len(slots) else ("", "")
        reason = f"{why[0]} ({why[1]})" if why[1] else why[0]
        yield Layer(op.name, op.node.op_type, len(slots), free, op.node in outermost, reason)


def works(book: Book) -> Iterator[tuple[str, list[int]]]:
    """(node name, labels of the axes over which its multiplications are spread evenly)."""
    for _, op in book.collected.ops:
        if op.node.op_type not in CHANNELS or op.operands[0] is None or op.operands[1] is None:
            continue
        if op.constant[1] or op.constant[0]:
            axes = op.operands[1] if op.constant[1] else op.operands[0]
        else:
            axes = [*op.operands[0], op.operands[1][-1]]
        found = [book.find(axis.inner if isinstance(axis, Flat) else axis) for axis in axes]
        if any(labels is not None for labels in found):
            yield op.name, [labels for labels in found if labels is not None]


def _made(op: Op) -> np.ndarray | None:
    """The output channels of a layer, None for what is no layer."""
    axis = CHANNELS.get(op.node.op_type)
    if axis is None or op.node.domain not in ("", "ai.onnx") or not any(op.constant[:2]) or not op.outputs[0]:
        return None
    if op.node.op_type == "MatMul" and not op.constant[1]:
        axis = -2
    slots = op.outputs[0][axis]
    return None if isinstance(slots, str) else slots


def _outermost(graph: ir.Graph, layer_of: dict[ir.Node, np.ndarray]) -> set[ir.Node]:
    """Layers whose channels are an output: no other layer, no sum of two tensors between."""
    found: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    stack = [value.producer() for value in graph.outputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in layer_of:
            found.add(node)
            continue
        before = [value.producer() for value in node.inputs if value is not None and value.producer() is not None]
        before = [producer for producer in before if producer is not None and producer.op_type != "Constant"]
        if len(before) == 1 or node.op_type == "Concat":
            stack += before
    return found


def multiplications(model: ir.Model, dims: Mapping[str, int] | None) -> dict[str, int]:
    """Multiply-accumulates by node name: by one inference where that says all, else by the cost table's several."""
    bound = model
    if dims or any(shapes.static(value) is None for value in shapes.inputs(model)):
        bound = model.clone()
        shapes.bind(bound, dims)
    found = {node.name or "": MACS[node.op_type](node) for node in bound.graph if node.op_type in MACS}
    if None in found.values():
        return {name: node.macs for name, node in cost(model, dims).nodes.items()}
    return {name: macs or 0 for name, macs in found.items()}


def name_nodes(graph: ir.Graph) -> None:
    """Give every node a name of its own, as reports and the cost table go by name."""
    times = Counter(node.name for node in graph)
    for position, node in enumerate(graph):
        if not node.name or times[node.name] > 1:
            node.name = f"{node.name or node.op_type}_{position}"
