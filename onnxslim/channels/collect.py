"""One walk over a model's nodes in order: each node's rule says how its slots relate."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.channels.extents import follow
from onnxslim.channels.node import DeclinedError
from onnxslim.channels.op import Op
from onnxslim.channels.record import Known
from onnxslim.channels.rules import find
from onnxslim.channels.trace import Axes, Axis, Trace
from onnxslim.graph import constants, shapes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """What the walk found.

    Attributes:
        trace: Slots and their relations.
        ops: (position in the graph, node with its records), without Constant nodes.
    """

    trace: Trace
    ops: list[tuple[int, Op]]


def collect(model: ir.Model, lossy: bool) -> Collected:
    """Walk the main graph of ``model``, whose shapes have been inferred and whose nodes are named."""
    trace = Trace()
    graph = model.graph
    known = Known({}, {}, graph.opset_imports.get("", 1), lossy)
    ops: list[tuple[int, Op]] = []
    for value in graph.inputs:
        known.axes[value] = _input(trace, value)
    for position, node in enumerate(graph):
        if node.op_type == "Constant" and constants.tensor(node.outputs[0]) is not None:
            continue
        op = Op(node, trace, known)
        _apply(op)
        _sizes(op, known)
        for value in _captured(node, graph):
            _hold(trace, known, value, "it is read inside a subgraph", op.name)
        known.axes.update(zip(node.outputs, op.outputs, strict=True))
        ops.append((position, op))
    for value in graph.outputs:
        _hold(trace, known, value, "graph output", value.name or "")
    return Collected(trace, ops)


def _apply(op: Op) -> None:
    rule = find(op.node)
    if rule is None or op.version < 7:
        op.give_up(f"{op.node.op_type} has no rule" if rule is None else "opsets below 7 broadcast in their own way")
        return
    try:
        rule(op)
        op.finish()
    except DeclinedError as declined:
        op.give_up(f"{op.node.op_type}: {declined}")
    except (ValueError, IndexError, KeyError, TypeError, AssertionError) as error:
        # A node that its rule does not expect (a malformed attribute, a wrong inferred shape) must not end it all.
        logger.debug("the rule of %s failed on %s: %s", op.node.op_type, op.name, error)
        op.give_up(f"{op.node.op_type} is not as its rule expects")


def _sizes(op: Op, known: Known) -> None:
    """Follow sizes through ``op``, or keep them what they are."""
    result = follow(op)
    if result is not None:
        known.elements[op.node.outputs[0]] = result
        return
    if op.node.op_type == "Size":
        for axis in op.operands[0] or ():
            op.pin(axis, "the size of the whole tensor is computed with")
    for i in op.elements:
        op.freeze(i)


def _hold(trace: Trace, known: Known, value: ir.Value, why: str, node: str) -> None:
    """Neither the slots of ``value`` nor, if it says sizes, what it says may change."""
    for axis in known.axes.get(value) or ():
        trace.pin(axis, why, node)
    for element in known.elements.get(value, ()):
        for axis in element.sources:
            trace.pin(axis, "its size is an output or read inside a subgraph", node)


def _input(trace: Trace, value: ir.Value) -> Axes | None:
    dims = shapes.dims(value)
    if dims is None:
        return None
    axes: list[Axis] = [trace.fresh(dim) if isinstance(dim, int) else dim or trace.unknown() for dim in dims]
    for axis in axes:
        trace.pin(axis, "graph input", value.name or "")
    return axes


def _captured(node: ir.Node, graph: ir.Graph) -> list[ir.Value]:
    """What the subgraphs of ``node``, however deep, read of ``graph``, in the order in which they read it."""
    found: dict[ir.Value, None] = {}
    for attribute in node.attributes.values():
        if attribute.is_ref() or attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            continue
        inner = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()
        for subgraph in [deep for one in inner for deep in (one, *one.subgraphs())]:
            read = [value for reader in subgraph for value in reader.inputs]
            found.update(dict.fromkeys(v for v in (*read, *subgraph.outputs) if v is not None and v.graph is graph))
    return list(found)
