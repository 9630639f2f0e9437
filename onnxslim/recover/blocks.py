"""Where a network can be cut in two at a single tensor, and which weights lie between two such cuts."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx_ir as ir

from onnxslim.graph import shapes

#: What only looks at a tensor's shape carries none of its contents.
_SHAPE_ONLY = ("Shape", "Size", "ConstantOfShape", "EyeLike")


def cuts(graph: ir.Graph) -> list[ir.Value]:
    """The tensors through which everything passes on its way from the inputs to the outputs, in order."""
    carrying = {value for value in graph.inputs if value.name not in graph.initializers}
    nodes = []
    for node in graph:
        if node.op_type not in _SHAPE_ONLY and any(value in carrying for value in _reads(node)):
            carrying.update(node.outputs)
            nodes.append(node)
    needed = _needed(graph, nodes)
    order = [node for node in nodes if any(output in needed for output in node.outputs)]
    position = {node: i for i, node in enumerate(order)}
    last: dict[ir.Value, int] = {}
    for node in order:
        for value in _reads(node):
            last[value] = position[node]
    for output in graph.outputs:
        last[output] = len(order)
    alive = {value for value in graph.inputs if value in last}
    found: list[ir.Value] = []
    for i, node in enumerate(order):
        alive.update(output for output in node.outputs if last.get(output, -1) > i)
        alive = {value for value in alive if last[value] > i}
        if len(alive) == 1 and i < len(order) - 1:
            (value,) = alive
            if value.dtype in (None, ir.DataType.FLOAT, ir.DataType.FLOAT16) and value not in found[-1:]:
                found.append(value)
    return found


def _needed(graph: ir.Graph, nodes: Iterable[ir.Node]) -> set[ir.Value]:
    needed = set(graph.outputs)
    for node in reversed(list(nodes)):
        if any(output in needed for output in node.outputs):
            needed.update(_reads(node))
    return needed


def _reads(node: ir.Node) -> list[ir.Value]:
    values = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            for inner in attribute.as_graph().all_nodes():
                values += [value for value in inner.inputs if value is not None]
    return values


def matched(student: ir.Model, teacher: ir.Model) -> list[str]:
    """The student's cuts that the teacher has under the same name, type and shape, in order."""
    theirs = {output.name: output for node in teacher.graph for output in node.outputs}
    names = []
    for value in cuts(student.graph):
        other = theirs.get(value.name)
        shape = shapes.dims(value)
        if other is None or other.dtype != value.dtype or shape is None:
            continue
        pairs = zip(shape, shapes.dims(other) or (), strict=False)
        same = len(shape) == len(shapes.dims(other) or ())
        if same and all(a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in pairs):
            names.append(str(value.name))
    return names


def divide(
    graph: ir.Graph, candidates: Collection[str], weights: Collection[str], most: int
) -> dict[str, list[str]]:
    """Blocks that end at some of the candidate tensors, each with weights of its own, ``most`` of them at most.

    Args:
        graph: In topological order.
        candidates: Names of cuts.
        weights: Names of the initializers that are trained.
        most: With more blocks than this, neighbours are joined.

    Returns:
        Last tensor of the block → its weights, in order. What lies behind the last cut is the block named "".
    """
    blocks: dict[str, list[str]] = {}
    current: list[str] = []
    end = ""
    placed: set[str] = set()
    constants = _constants(graph)
    for node in graph:
        for weight in _weights_of(node, weights, constants):
            if weight in placed:
                continue
            if end:
                # The last cut before the next weight: behind the activation, not in front of it.
                blocks[end], current, end = current, [], ""
            placed.add(weight)
            current.append(weight)
        for output in node.outputs:
            if output.name in candidates and current:
                end = str(output.name)
    if current:
        blocks[""] = current
    return _joined(blocks, most)


def _weights_of(node: ir.Node, weights: Collection[str], constants: Collection[ir.Value]) -> Iterable[str]:
    """The trained initializers that meet the data at ``node``, through whatever lies between.

    A weight belongs where it meets the data, not where its DequantizeLinear happens to stand in the file.
    """
    values = [value for value in node.inputs if value is not None]
    if all(value in constants for value in values):
        return
    stack = [value for value in reversed(values) if value in constants]
    while stack:
        value = stack.pop()
        producer = value.producer()
        if producer is not None:
            stack += [v for v in reversed(producer.inputs) if v is not None]
        elif value.name in weights:
            yield str(value.name)


def _constants(graph: ir.Graph) -> set[ir.Value]:
    """What does not depend on the inputs."""
    found = {value for value in graph.initializers.values() if not value.is_graph_input()}
    for node in graph:
        if all(value in found for value in _reads(node)):
            found.update(node.outputs)
    return found


def _joined(blocks: dict[str, list[str]], most: int) -> dict[str, list[str]]:
    names = list(blocks)
    if len(names) <= most:
        return blocks
    joined: dict[str, list[str]] = {}
    for group in range(most):
        part = names[group * len(names) // most : (group + 1) * len(names) // most]
        joined[part[-1]] = [weight for name in part for weight in blocks[name]]
    return joined
