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

from onnxslim import io
from onnxslim.channels.edit import Constants
from onnxslim.channels.layers import multiplications, name_nodes
from onnxslim.errors import UsageError
from onnxslim.graph import constants, shapes
from onnxslim.graph.cost import FLOATS


@dataclass(frozen=True)
class Block:
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


def blocks(model: ir.Model, dims: Mapping[str, int] | None = None) -> list[Block]:
    """The blocks of ``model`` that hold a layer, in the order of the graph; they may be nested.

    Args:
        model: Read only.
        dims: Sizes of free dimensions, for the MACs.
    """
    copy = model.clone()
    name_nodes(copy.graph)
    shapes.infer(copy)
    macs = multiplications(copy, dims)
    order = {node: position for position, node in enumerate(copy.graph)}
    return [
        Block(
            entry=kept.name or "",
            exit=node.outputs[0].name or "",
            nodes=tuple(n.name or "" for n in sorted(gone, key=order.__getitem__) if n.op_type != "Constant"),
            residual=any(value is kept for n in gone for value in n.inputs),
            params=_params(gone),
            macs=sum(macs.get(n.name or "", 0) for n in gone),
        )
        for node, kept, gone in _sums(copy.graph)
        if any((n.name or "") in macs for n in gone)
    ]


def drop(model: ir.Model, block: Block, mean: np.ndarray | None = None) -> ir.Model:
    """``model`` without ``block``.

    Args:
        model: Not changed.
        block: One of ``blocks(model)``; other blocks stay valid by name unless they are inside it.
        mean: What the block adds on average, broadcastable to its output; one value for each channel, (C,), is taken
            along axis 1 of tensors with four axes or more and along the last axis of others. None adds nothing.

    Raises:
        UsageError: ``model`` has no such block.
    """
    result = io.clone(model)
    shapes.infer(result)
    ends = (block.entry, block.exit)
    found = next((s for s in _sums(result.graph) if (s[1].name, s[0].outputs[0].name) == ends), None)
    if found is None:
        raise UsageError(f"no block from {block.entry} to {block.exit}", hint="it may have been dropped already")
    node, kept, gone = found
    if mean is None:
        node.resize_inputs(1)
        node.replace_input_with(0, kept)
        node.op_type = "Identity"
    else:
        rank = len(shapes.dims(kept) or ())
        value = mean.reshape(-1, *[1] * (rank - 2)) if mean.ndim == 1 and rank > 3 else mean
        dtype = kept.dtype.numpy() if kept.dtype is not None else np.dtype(np.float32)
        constant = Constants(result).new(np.asarray(value, dtype), f"{block.exit}_mean")
        node.replace_input_with(0, kept)
        node.replace_input_with(1, constant)
    result.graph.remove(gone, safe=True)
    for name, given in list(result.graph.initializers.items()):
        if not given.uses() and not given.is_graph_output() and not given.is_graph_input():
            del result.graph.initializers[name]
    return result


def _sums(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value, list[ir.Node]]]:
    """(Add, the operand to keep, the nodes that only make the other) for each way to leave out an operand."""
    for node in graph:
        if node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
            continue
        out = shapes.dims(node.outputs[0])
        for kept, other in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
            if kept is None or other is None or kept is other or constants.tensor(kept) is not None:
                continue
            if out is None or None in out or shapes.dims(kept) != out:
                continue  # a sum that broadcasts, or may
            gone = _only_for(other, kept, node)
            if gone:
                yield node, kept, gone


def _only_for(value: ir.Value, kept: ir.Value, reader: ir.Node) -> list[ir.Node]:
    """The nodes that nobody needs once ``reader`` reads ``kept`` alone, and no longer ``value``."""
    gone: dict[ir.Node, None] = {}
    stack = [value.producer()]
    while stack:
        node = stack.pop()
        if node is None or node in gone or node.graph is not reader.graph:
            continue
        readers = [user for output in node.outputs for user in output.consumers()]
        needed = any(user is not reader and user not in gone for user in readers) or kept in node.outputs
        if needed or any(output.is_graph_output() for output in node.outputs):
            continue
        gone[node] = None
        stack += [given.producer() for given in node.inputs if given is not None]
    return list(gone)


def _params(nodes: list[ir.Node]) -> int:
    """Elements of the float constants that only ``nodes`` read."""
    inside = set(nodes)
    total = 0
    for value in dict.fromkeys(value for node in nodes for value in node.inputs if value is not None):
        tensor = constants.tensor(value)
        if tensor is not None and tensor.dtype in FLOATS and all(user in inside for user in value.consumers()):
            total += int(tensor.size)
    return total
