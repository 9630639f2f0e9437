"""Where a network can be cut in two at a single tensor, and which weights lie between two such cuts."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx_ir as ir

from onnxslim.graph.traversal import iter_reads

#: What only looks at a tensor's shape carries none of its contents.
_SHAPE_ONLY_OPS = ("Shape", "Size", "ConstantOfShape", "EyeLike")


def find_cuts(graph: ir.Graph, weights: Collection[str]) -> list[ir.Value]:
    """The tensors through which everything that ``weights`` make passes on its way from the inputs to the outputs, in order.

    What none of them has a part in goes past a cut as it likes, for it is the teacher's as well: the mask that every layer
    of an encoder reads, the image that is added to what a network makes of it.

    Args:
        graph: In topological order.
        weights: Names of the initializers that are trained.
    """
    learnt_values = {graph.initializers[name] for name in weights}
    data_values = {value for value in graph.inputs if value.name not in graph.initializers}
    nodes = []
    for node in graph:
        if node.op_type not in _SHAPE_ONLY_OPS and any(value in data_values for value in iter_reads(node)):
            data_values.update(node.outputs)
            nodes.append(node)
        if any(value in learnt_values for value in iter_reads(node)):
            learnt_values.update(node.outputs)
    needed = _find_needed_values(graph, nodes)
    order = [node for node in nodes if any(output in needed and output in learnt_values for output in node.outputs)]
    last_use = {value: i for i, node in enumerate(order) for value in iter_reads(node)}
    last_use.update(dict.fromkeys(graph.outputs, len(order)))
    alive = set[ir.Value]()
    cut_values: list[ir.Value] = []
    for i, node in enumerate(order):
        alive.update(output for output in node.outputs if last_use.get(output, -1) > i)
        alive = {value for value in alive if last_use[value] > i}
        if len(alive) == 1 and i < len(order) - 1:
            (value,) = alive
            if value.dtype in (None, ir.DataType.FLOAT, ir.DataType.FLOAT16) and value not in cut_values[-1:]:
                cut_values.append(value)
    return cut_values


def _find_needed_values(graph: ir.Graph, nodes: Iterable[ir.Node]) -> set[ir.Value]:
    needed = set(graph.outputs)
    for node in reversed(list(nodes)):
        if any(output in needed for output in node.outputs):
            needed.update(iter_reads(node))
    return needed


def match_cuts(student: ir.Model, teacher: ir.Model, weights: Collection[str]) -> tuple[list[str], list[str]]:
    """The student's cuts between ``weights``, in order: those that the teacher has under the same name and type, and others.

    What is of another size there may have lost channels; values tell whether it is the same (``channel_map.py``).
    """
    teacher_values = {output.name: output for node in teacher.graph for output in node.outputs}
    matched: list[str] = []
    missing: list[str] = []
    for value in find_cuts(student.graph, weights):
        twin = teacher_values.get(value.name)
        is_same = twin is not None and (twin.dtype is None or twin.dtype == value.dtype)
        (matched if is_same else missing).append(str(value.name))
    return matched, missing


def divide_into_blocks(
    graph: ir.Graph, candidates: Collection[str], weights: Collection[str], max_blocks: int
) -> dict[str, list[str]]:
    """Blocks that end at some of the candidate tensors, each with weights of its own, ``max_blocks`` of them at most.

    Args:
        graph: In topological order.
        candidates: Names of cuts.
        weights: Names of the initializers that are trained.
        max_blocks: With more blocks than this, neighbours are joined.

    Returns:
        Last tensor of the block → its weights, in order. What lies behind the last cut is the block named "".
    """
    blocks: dict[str, list[str]] = {}
    current: list[str] = []
    end = ""
    placed: set[str] = set()
    constants = _find_constant_values(graph)
    for node in graph:
        for weight in _find_weights_at(node, weights, constants):
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
    return _merge_blocks(blocks, max_blocks)


def _find_weights_at(node: ir.Node, weights: Collection[str], constants: Collection[ir.Value]) -> Iterable[str]:
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


def _find_constant_values(graph: ir.Graph) -> set[ir.Value]:
    """What does not depend on the inputs."""
    constants = {value for value in graph.initializers.values() if not value.is_graph_input()}
    for node in graph:
        if all(value in constants for value in iter_reads(node)):
            constants.update(node.outputs)
    return constants


def _merge_blocks(blocks: dict[str, list[str]], max_blocks: int) -> dict[str, list[str]]:
    names = list(blocks)
    if len(names) <= max_blocks:
        return blocks
    merged: dict[str, list[str]] = {}
    for group in range(max_blocks):
        group_names = names[group * len(names) // max_blocks : (group + 1) * len(names) // max_blocks]
        merged[group_names[-1]] = [weight for name in group_names for weight in blocks[name]]
    return merged
