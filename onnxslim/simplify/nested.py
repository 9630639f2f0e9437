"""Graphs that hold graphs: the branches of an If, the bodies of Loop and Scan."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that ``node`` holds as attributes."""
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH and not attribute.is_ref():
            yield attribute.as_graph()
        elif attribute.type is ir.AttributeType.GRAPHS and not attribute.is_ref():
            yield from attribute.as_graphs()


def walk(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """The nodes of ``graph`` in order, each followed by those of the graphs it holds."""
    for node in graph:
        yield node
        if node.attributes:
            for inner in subgraphs(node):
                yield from walk(inner)


def read(node: ir.Node) -> Iterator[ir.Value]:
    """What ``node`` reads, also from inside its graphs."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs(node):
        for inner in walk(graph):
            yield from (value for value in inner.inputs if value is not None)
