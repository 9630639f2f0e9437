"""Graphs that hold graphs.

The branches of an If and the bodies of Loop and Scan are simplified like the graph around them, whose values they may
read. What another op does with a graph that it holds is its own business: such graphs are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

CONTROL_FLOW = ("If", "Loop", "Scan")


def iter_subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that ``node`` holds as attributes."""
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH and not attribute.is_ref():
            yield attribute.as_graph()
        elif attribute.type is ir.AttributeType.GRAPHS and not attribute.is_ref():
            yield from attribute.as_graphs()


def iter_bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that ``node`` holds, if it is control flow."""
    if node.op_type in CONTROL_FLOW and not node.domain:
        yield from iter_subgraphs(node)


def walk(nodes: Iterable[ir.Node], into: Callable[[ir.Node], Iterator[ir.Graph]] = iter_bodies) -> Iterator[ir.Node]:
    """``nodes`` (of a graph) in order, each followed by those of its bodies (or of all graphs, ``into=iter_subgraphs``)."""
    for node in nodes:
        yield node
        if node.attributes:
            for inner in into(node):
                yield from walk(inner, into)


def walk_graphs(graph: ir.Graph, into: Callable[[ir.Node], Iterator[ir.Graph]] = iter_bodies) -> Iterator[ir.Graph]:
    """``graph`` and every body (or every graph, ``into=iter_subgraphs``) inside it."""
    yield graph
    for node in walk(graph, into):
        if node.attributes:
            yield from into(node)


def iter_reads(node: ir.Node) -> Iterator[ir.Value]:
    """What ``node`` reads, also from inside its graphs."""
    yield from (value for value in node.inputs if value is not None)
    yield from iter_inner_reads(node)


def iter_inner_reads(node: ir.Node) -> Iterator[ir.Value]:
    """What the graphs of ``node`` read and give out: their own values, and those that they capture from outside."""
    for graph in iter_subgraphs(node):
        for inner in walk(graph, iter_subgraphs):
            yield from (value for value in inner.inputs if value is not None)
        for nested in walk_graphs(graph, iter_subgraphs):
            yield from nested.outputs


def iter_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """What ``graph`` takes, holds and computes, in that order."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def make_names_unique(graph: ir.Graph) -> None:
    """Make every value's name unique, in place; what the main graph ``graph`` takes and returns keeps its name.

    The same name in two nested graphs is legal, but here a name must mean one value.
    """
    finished = {*graph.inputs, *graph.outputs}
    names = {str(value.name) for value in finished}
    for inner in walk_graphs(graph):
        for value in list(iter_values(inner)):  # renaming an initializer moves it in the table it is in
            if not value.name or value in finished:
                continue
            stem, count = value.name, 1
            while value.name in names:
                count += 1
                value.name = f"{stem}_{count}"
            names.add(value.name)
            finished.add(value)


def name_nodes(nodes: Iterable[ir.Node]) -> None:
    """Give each of ``nodes`` without a name, or with one that an earlier one has, a name of its own, in place."""
    taken: set[str] = set()
    for index, node in enumerate(nodes):
        if not node.name or node.name in taken:
            number = index
            while f"{node.op_type}_{number}" in taken:
                number += 1
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)
