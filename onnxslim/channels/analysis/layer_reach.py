"""Layers: what the reach counts, and the multiplications that units save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.label_table import LabelTable
from onnxslim.channels.analysis.units import LayerReach
from onnxslim.channels.rules import recurrent
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.slot_tracing import FlattenedAxis
from onnxslim.graph import shapes
from onnxslim.graph.cost import MAC_COUNTERS, compute_cost
from onnxslim.graph.layers import CONV_OPS, LAYER_OPS


def find_layers(table: LabelTable, graph: ir.Graph) -> Iterator[LayerReach]:
    """Every layer with a constant weight, how many of its channels are free, and what holds the others."""
    channels = [(op, _find_output_channels(op)) for _, op in table.collected.ops]
    layer_channels = {op.node: slots for op, slots in channels if slots is not None}
    output_layers = _find_output_layers(graph, layer_channels)
    for op, slots in channels:
        if slots is None:
            continue
        free = table.count_free(slots)
        main_pin = next(iter(table.count_pins(slots)), ("", "")) if free < len(slots) else ("", "")
        reason = f"{main_pin[0]} ({main_pin[1]})" if main_pin[1] else main_pin[0]
        yield LayerReach(op.name, op.node.op_type, len(slots), free, op.node in output_layers, reason)


def find_mac_axes(table: LabelTable) -> Iterator[tuple[str, list[int]]]:
    """(node name, labels of the axes over which its multiplications are spread evenly)."""
    for _, op in table.collected.ops:
        if op.node.op_type not in LAYER_OPS or op.operands[0] is None or op.operands[1] is None:
            continue
        if op.is_constant[1] or op.is_constant[0]:
            axes = op.operands[1] if op.is_constant[1] else op.operands[0]
        else:
            axes = [*op.operands[0], op.operands[1][-1]]
        axis_labels = [table.find_labels(axis.inner if isinstance(axis, FlattenedAxis) else axis) for axis in axes]
        if any(labels is not None for labels in axis_labels):
            yield op.name, [labels for labels in axis_labels if labels is not None]


def _find_output_channels(op: Op) -> np.ndarray | None:
    """The output channels of a layer, the hidden units of a recurrent one; None for what is no layer."""
    op_type = op.node.op_type
    if op_type in recurrent.RULES and not op.node.domain and op.is_constant[1]:
        hidden = next((axes[-1] for axes in op.outputs if axes), None)
        return None if isinstance(hidden, str) else hidden
    if op_type not in LAYER_OPS or op.node.domain or not any(op.is_constant[:2]) or not op.outputs[0]:
        return None
    axis = 1 if op_type in CONV_OPS else -2 if op_type == "MatMul" and not op.is_constant[1] else -1
    slots = op.outputs[0][axis]
    return None if isinstance(slots, str) else slots


def _find_output_layers(graph: ir.Graph, layer_channels: dict[ir.Node, np.ndarray]) -> set[ir.Node]:
    """Layers whose channels are an output: no other layer, no sum of two tensors between."""
    output_layers: set[ir.Node] = set()
    seen: set[ir.Node] = set()
    stack = [value.producer() for value in graph.outputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in layer_channels:
            output_layers.add(node)
            continue
        producers = [value.producer() for value in node.inputs if value is not None and value.producer() is not None]
        producers = [producer for producer in producers if producer is not None and producer.op_type != "Constant"]
        if len(producers) == 1 or node.op_type == "Concat":
            stack += producers
    return output_layers


def count_macs(model: ir.Model, dims: Mapping[str, int] | None) -> dict[str, int]:
    """Multiply-accumulates by node name: by one inference where that says all, else by the cost table's several."""
    bound = model
    if dims or any(shapes.get_static_dims(value) is None for value in shapes.get_required_inputs(model)):
        bound = model.clone()
        shapes.bind(bound, dims)
    node_macs = {node.name or "": MAC_COUNTERS[node.op_type](node) for node in bound.graph if node.op_type in MAC_COUNTERS}
    if None in node_macs.values():
        return {name: node.macs for name, node in compute_cost(model, dims).nodes.items()}
    return {name: macs or 0 for name, macs in node_macs.items()}
