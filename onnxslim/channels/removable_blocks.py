"""Whole blocks that can be left out with every shape still right: residual branches, and one of two parallel ones.

Time follows whole blocks better than the channels within them. In Add(x, f(x)), f is left out by putting x, and the mean
of what f adds, in the place of the sum; in Add(f(x), g(x)) either of the two may go. Attention heads and the branches of
a Concat are channel units and need nothing of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.layer_reach import count_macs
from onnxslim.core.errors import UsageError
from onnxslim.graph import constants, shapes
from onnxslim.graph.cost import FLOAT_TYPES
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file


@dataclass(frozen=True)
class DroppableBlock:
    """A part of a model that can be left out.

    Attributes:
        entry: Name of the tensor that takes the place of ``exit``.
        exit: Name of the sum's output; it keeps its name whatever is dropped.
        nodes: Names of the nodes that go, in order.
        residual: Whether they read ``entry``, as in Add(x, f(x)); else they run beside what makes it.
        params: Float parameters that go.
        macs: Multiply-accumulates at batch 1 that go.
    """

    entry: str
    exit: str
    nodes: tuple[str, ...]
    residual: bool
    params: int
    macs: int


def find_blocks(model: ir.Model, dims: Mapping[str, int] | None = None) -> list[DroppableBlock]:
    """The blocks of ``model`` that hold a layer, in the order of the graph; they may be nested.

    Args:
        model: Read only.
        dims: Sizes of free dimensions, for the MACs.
    """
    copy = model.clone()
    name_nodes(copy.graph)
    shapes.infer(copy)
    macs = count_macs(copy, dims)
    order = {node: position for position, node in enumerate(copy.graph)}
    return [
        DroppableBlock(
            entry=kept_operand.name or "",
            exit=node.outputs[0].name or "",
            nodes=tuple(n.name or "" for n in sorted(dropped, key=order.__getitem__) if n.op_type != "Constant"),
            residual=any(value is kept_operand for n in dropped for value in n.inputs),
            params=_count_params(dropped),
            macs=sum(macs.get(n.name or "", 0) for n in dropped),
        )
        for node, kept_operand, dropped in _find_sums(copy.graph)
        if any((n.name or "") in macs for n in dropped)
    ]


def drop_block(model: ir.Model, block: DroppableBlock, mean: np.ndarray | None = None) -> ir.Model:
    """``model`` without ``block``.

    Args:
        model: Not changed.
        block: One of ``find_blocks(model)``; other blocks stay valid by name unless they are inside it.
        mean: What the block adds on average, broadcastable to its output; one value for each channel, (C,), is taken
            along axis 1 of tensors with four axes or more and along the last axis of others. None adds nothing.

    Raises:
        UsageError: ``model`` has no such block.
    """
    result = model_file.clone(model)
    shapes.infer(result)
    ends = (block.entry, block.exit)
    match = next((s for s in _find_sums(result.graph) if (s[1].name, s[0].outputs[0].name) == ends), None)
    if match is None:
        raise UsageError(f"no block from {block.entry} to {block.exit}", hint="it may have been dropped already")
    node, kept_operand, dropped = match
    editor = GraphEditor(result.graph, numbered_from=1)
    if mean is None:
        node.resize_inputs(1)
        node.replace_input_with(0, kept_operand)
        node.op_type = "Identity"
    else:
        rank = len(shapes.get_dims(kept_operand) or ())
        value = mean.reshape(-1, *[1] * (rank - 2)) if mean.ndim == 1 and rank > 3 else mean
        dtype = kept_operand.dtype.numpy() if kept_operand.dtype is not None else np.dtype(np.float32)
        constant = editor.add_initializer(f"{block.exit}_mean", np.asarray(value, dtype))
        node.replace_input_with(0, kept_operand)
        node.replace_input_with(1, constant)
    editor.remove_unread([*result.graph.initializers.values(), *dropped])
    return result


def _find_sums(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value, list[ir.Node]]]:
    """(Add, the operand to keep, the nodes that only make the other) for each way to leave out an operand."""
    for node in graph:
        if node.op_type != "Add" or node.domain:
            continue
        out = shapes.get_dims(node.outputs[0])
        for kept_operand, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
            if (
                kept_operand is None
                or other is None
                or kept_operand is other
                or constants.get_const_tensor(kept_operand) is not None
            ):
                continue
            if out is None or None in out or shapes.get_dims(kept_operand) != out:
                continue  # a sum that broadcasts, or may
            dropped = _find_exclusive_nodes(other, kept_operand, node)
            if dropped:
                yield node, kept_operand, dropped


def _find_exclusive_nodes(value: ir.Value, kept_operand: ir.Value, reader: ir.Node) -> list[ir.Node]:
    """The nodes that nobody needs once ``reader`` reads ``kept_operand`` alone, and no longer ``value``."""
    exclusive: dict[ir.Node, None] = {}
    stack = [value.producer()]
    while stack:
        node = stack.pop()
        if node is None or node in exclusive or node.graph is not reader.graph:
            continue
        readers = [user for output in node.outputs for user in output.consumers()]
        needed = any(user is not reader and user not in exclusive for user in readers) or kept_operand in node.outputs
        if needed or any(output.is_graph_output() for output in node.outputs):
            continue
        exclusive[node] = None
        stack += [operand.producer() for operand in node.inputs if operand is not None]
    return list(exclusive)


def _count_params(nodes: list[ir.Node]) -> int:
    """Elements of the float constants that only ``nodes`` read."""
    inside = set(nodes)
    total = 0
    for value in dict.fromkeys(value for node in nodes for value in node.inputs if value is not None):
        tensor = constants.get_const_tensor(value)
        if tensor is not None and tensor.dtype in FLOAT_TYPES and all(user in inside for user in value.consumers()):
            total += int(tensor.size)
    return total
