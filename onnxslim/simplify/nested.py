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


def graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """``graph`` and every graph inside it."""
    yield graph
    for node in walk(graph):
        if node.attributes:
            yield from subgraphs(node)


def read(node: ir.Node) -> Iterator[ir.Value]:
    """What ``node`` reads, also from inside its graphs."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs(node):
        for inner in walk(graph):
            yield from (value for value in inner.inputs if value is not None)


def unique_names(model: ir.Model) -> set[str]:
    """Make every value's name unique, in place, and return them all; what the model takes and returns keeps its name.

    The same name in two nested graphs is legal, but here a name must mean one value.
    """
    names = {str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)}
    fixed = {*model.graph.inputs, *model.graph.outputs}
    for graph in graphs(model.graph):
        values = [
            *graph.inputs,
            *graph.initializers.values(),
            *(out for node in graph for out in node.outputs),
        ]
        for value in values:
            if not value.name or value in fixed:
                continue
            stem, count = value.name, 1
            while value.name in names:
                count += 1
                value.name = f"{stem}_{count}"
            names.add(value.name)
            fixed.add(value)
    return names
