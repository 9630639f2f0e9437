"""One walk over a model's nodes in order: each node's rule says how its slots relate."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.channels.rules import find_rule
from onnxslim.channels.slots.node import UNEXPECTED_NODE_ERRORS, DeclinedError
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.rule_records import WalkState
from onnxslim.channels.slots.shape_tracking import track_shape
from onnxslim.channels.slots.slot_tracing import Axes, SlotTrace
from onnxslim.graph import constants, shapes
from onnxslim.graph.traversal import iter_inner_reads

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TracedGraph:
    """What the walk found.

    Attributes:
        trace: Slots and their relations.
        ops: (position in the graph, node with its records), without Constant nodes.
    """

    trace: SlotTrace
    ops: list[tuple[int, Op]]


def trace_slots(model: ir.Model, lossy: bool) -> TracedGraph:
    """Walk the main graph of ``model``, whose shapes have been inferred and whose nodes are named."""
    trace = SlotTrace()
    graph = model.graph
    state = WalkState({}, {}, graph.opset_imports.get("", 1), lossy)
    ops: list[tuple[int, Op]] = []
    for value in graph.inputs:
        state.axes[value] = _create_input_axes(trace, value)
    for position, node in enumerate(graph):
        if node.op_type == "Constant" and constants.get_const_tensor(node.outputs[0]) is not None:
            continue
        op = Op(node, trace, state)
        _apply_rule(op)
        _track_sizes(op, state)
        for value in dict.fromkeys(value for value in iter_inner_reads(node) if value.graph is graph):
            _pin_value(trace, state, value, "it is read inside a subgraph", op.name)
        state.axes.update(zip(node.outputs, op.outputs, strict=True))
        ops.append((position, op))
    for value in graph.outputs:
        _pin_value(trace, state, value, "graph output", value.name or "")
    return TracedGraph(trace, ops)


def _apply_rule(op: Op) -> None:
    rule = find_rule(op.node)
    if rule is None or op.opset < 7:
        op.pin_all(f"{op.node.op_type} has no rule" if rule is None else "opsets below 7 broadcast in their own way")
        return
    try:
        rule(op)
        op.finish()
    except DeclinedError as declined:
        op.pin_all(f"{op.node.op_type}: {declined}")
    except UNEXPECTED_NODE_ERRORS as error:
        logger.debug("the rule of %s failed on %s: %s", op.node.op_type, op.name, error)
        op.pin_all(f"{op.node.op_type} is not as its rule expects")


def _track_sizes(op: Op, state: WalkState) -> None:
    """Follow sizes through ``op``, or keep them what they are."""
    try:
        tracked = track_shape(op)
    except UNEXPECTED_NODE_ERRORS as error:
        logger.debug("the sizes in %s cannot be followed: %s", op.name, error)
        tracked = None
    if tracked is not None:
        state.shape_elements[op.node.outputs[0]] = tracked
        return
    if op.node.op_type == "Size":
        for axis in op.operands[0] or ():
            op.pin(axis, "the size of the whole tensor is computed with")
    for i in op.shape_elements:
        op.freeze_sizes(i)


def _pin_value(trace: SlotTrace, state: WalkState, value: ir.Value, reason: str, node: str) -> None:
    """Pin the slots of ``value`` and, if its elements are sizes, the axes that these were computed from."""
    for axis in state.axes.get(value) or ():
        trace.pin(axis, reason, node)
    for element in state.shape_elements.get(value, ()):
        for axis in element.sources:
            trace.pin(axis, "its size is an output or read inside a subgraph", node)


def _create_input_axes(trace: SlotTrace, value: ir.Value) -> Axes | None:
    dims = shapes.get_dims(value)
    if dims is None:
        return None
    axes = [trace.new_axis(dim) for dim in dims]
    for axis in axes:
        trace.pin(axis, "graph input", value.name or "")
    return axes
