"""One walk over a model's nodes in order: each node's rule says how its slots relate."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.channels.extents import Extents, follow, of_shape
from onnxslim.channels.op import DeclinedError, Op
from onnxslim.channels.rules import find
from onnxslim.channels.trace import Axes, Trace
from onnxslim.graph import constants, shapes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """What the walk found.

    Attributes:
        trace: Slots and their relations.
        ops: (position in the graph, node with its records), without Constant nodes.
        values: The axes of every tensor that a node computes.
        live: (position, input) of the integer inputs that are computed from sizes.
    """

    trace: Trace
    ops: list[tuple[int, Op]]
    values: dict[ir.Value, Axes | None]
    live: frozenset[tuple[int, int]]


def collect(model: ir.Model, lossy: bool) -> Collected:
    """Walk the main graph of ``model``, whose shapes have been inferred and whose nodes are named."""
    trace = Trace()
    graph = model.graph
    version = graph.opset_imports.get("", 1)
    values: dict[ir.Value, Axes | None] = {}
    extents: dict[ir.Value, Extents] = {}
    live: set[tuple[int, int]] = set()
    ops: list[tuple[int, Op]] = []
    for value in graph.inputs:
        values[value] = _held(trace, value, "graph input")
    for position, node in enumerate(graph):
        if node.op_type == "Constant" and constants.tensor(node.outputs[0]) is not None:
            continue
        op = Op(node, node.name or "", trace, values, version)
        op.lossy = lossy
        _apply(op, version)
        _sizes(op, position, extents, live)
        for value in _captured(node, graph):
            for axis in values.get(value) or ():
                trace.pin(axis, "it is read inside a subgraph", op.name)
        values.update(zip(node.outputs, op.outputs, strict=True))
        ops.append((position, op))
    for value in graph.outputs:
        for axis in values.get(value) or ():
            trace.pin(axis, "graph output", value.name or "")
        _hold_sizes(trace, extents.get(value, []), value.name or "")
    return Collected(trace, ops, values, frozenset(live))


def _apply(op: Op, version: int) -> None:
    rule = find(op.node)
    if rule is None or version < 7:
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


def _sizes(op: Op, position: int, extents: dict[ir.Value, Extents], live: set[tuple[int, int]]) -> None:
    """Follow sizes through ``op``, or pin what they were read from."""
    if op.node.op_type == "Shape" and op.operands and op.operands[0] is not None:
        extents[op.node.outputs[0]] = of_shape(op)
        return
    if op.node.op_type == "Size":
        for axis in op.operands[0] or ():
            op.pin(axis, "the size of the whole tensor is computed with")
    known = {i: extents[v] for i, v in enumerate(op.node.inputs) if v is not None and v in extents}
    if not any(slots for found in known.values() for slots in found):
        return
    result = None if None in [op.operands[i] for i in op.given()] else follow(op, known)
    if result is not None:
        extents[op.node.outputs[0]] = result
        return
    for i, found in known.items():
        counted = {e for target, counts in op.records.sizes if target == i for e in counts}
        live.add((position, i))
        _hold_sizes(op.trace, [slots for e, slots in enumerate(found) if e not in counted], op.name)


def _hold_sizes(trace: Trace, extents: Extents, name: str) -> None:
    for slots in extents:
        for axis in slots:
            trace.pin(axis, "its size is computed with at run time", name)


def _held(trace: Trace, value: ir.Value, why: str) -> Axes | None:
    dims = shapes.dims(value)
    if dims is None:
        return None
    axes: Axes = [trace.fresh(dim) if isinstance(dim, int) else None for dim in dims]
    for axis in axes:
        trace.pin(axis, why, value.name or "")
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
