"""Training around what torch cannot run: such operators stay frozen, in front of the trained part or behind it.

What is in front is run by onnxruntime and its results are fed; what is behind is not run at all, and its inputs become
what is learnt. So an unsupported operator costs only the weights on its own side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim import io
from onnxslim.errors import UnsupportedError
from onnxslim.graph import shapes
from onnxslim.recover.executor import unsupported
from onnxslim.recover.weights import find_weights
from onnxslim.runtime.taps import prune_unused, tap


@dataclass(frozen=True)
class Parts:
    """A model cut for training.

    Attributes:
        head: Gives the inputs of the body that are not the model's own, or None.
        body: What torch trains; its initializers have the model's names.
        frozen: Why each operator that torch cannot run is left out, by node name.
    """

    head: ir.Model | None
    body: ir.Model
    frozen: dict[str, str]


def partition(model: ir.Model) -> Parts:
    """Cut ``model`` around the operators that torch cannot run, so that as many weights as possible can learn.

    Raises:
        UnsupportedError: Nothing trainable is left; the operators are named.
    """
    model = io.clone(model)
    shapes.infer(model)
    refused = unsupported(model)
    frozen = {node.name or node.op_type: reason for node, reason in refused.items()}
    if not refused:
        return Parts(None, model, frozen)
    front, behind = _sides(model, list(refused))
    body = [node for node in model.graph if node not in front and node not in behind]
    fed = _names(v for node in body for v in node.inputs if v is not None and v.producer() in front)
    learnt = _names(
        v
        for node in body
        for v in node.outputs
        if v.is_graph_output() or any(u.node in behind for u in v.uses())
    )
    if not learnt or not _trainable(model, body):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in frozen.items())
        raise UnsupportedError(f"nothing can be trained around what torch cannot run: {reasons}")
    head = tap(model, fed, only=True) if fed else None
    return Parts(head, extract(model, fed, learnt), frozen)


def _sides(model: ir.Model, refused: list[ir.Node]) -> tuple[set[ir.Node], set[ir.Node]]:
    """The nodes in front of the body and those behind it, each refused one on the side that costs fewer weights."""
    front: set[ir.Node] = set()
    behind: set[ir.Node] = set()
    sizes = {name: weight.parameter.numel() for name, weight in find_weights(model.graph).items()}
    for node in refused:
        if node in front or node in behind:
            continue
        before, after = _closure(node, backwards=True), _closure(node, backwards=False)
        # A side is open only if it keeps "in front" closed under ancestors and "behind" under descendants.
        if not before & behind and (after & front or _cost(before, sizes) <= _cost(after, sizes)):
            front |= before
        else:
            behind |= after
    return front, behind


def _closure(node: ir.Node, *, backwards: bool) -> set[ir.Node]:
    seen = {node}
    stack = [node]
    while stack:
        current = stack.pop()
        if backwards:
            near: Iterable[ir.Node] = (p for p in map(_producer, current.inputs) if p is not None)
        else:
            near = (use.node for output in current.outputs for use in output.uses())
        for other in near:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return seen


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _cost(nodes: set[ir.Node], sizes: dict[str, int]) -> int:
    names = {v.name for node in nodes for v in node.inputs if v is not None and v.name in sizes}
    return sum(sizes[str(name)] for name in names)


def _trainable(model: ir.Model, body: list[ir.Node]) -> bool:
    weights = find_weights(model.graph)
    return any(v is not None and v.name in weights for node in body for v in node.inputs)


def _names(values: Iterable[ir.Value]) -> list[str]:
    return list(dict.fromkeys(str(value.name) for value in values))


def extract(model: ir.Model, fed: list[str], learnt: list[str]) -> ir.Model:
    """The part of ``model`` from the tensors ``fed`` (and its own inputs) to those ``learnt``."""
    part = tap(model, learnt, only=True)
    graph = part.graph
    for node in list(graph):
        for output in node.outputs:
            if output.name in fed:
                source = ir.Value(name=output.name, shape=output.shape, type=output.type)
                output.name = f"{output.name}_frozen"
                output.replace_all_uses_with(source)
                graph.inputs.append(source)
    prune_unused(graph)
    for value in list(graph.inputs):
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)
    return part
