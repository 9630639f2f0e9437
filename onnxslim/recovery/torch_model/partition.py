"""Training around what torch cannot run: such operators stay frozen, in front of the trained part or behind it.

What is in front is run by onnxruntime and its results are fed; what is behind is not run at all, and its inputs become
what is learnt. So an unsupported operator costs only the weights on its own side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError
from onnxslim.graph import shapes
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.signature import tap_outputs
from onnxslim.model_io import model_file
from onnxslim.recovery.torch_model.executor import find_unsupported_nodes
from onnxslim.recovery.torch_model.trainable_weights import find_weights


@dataclass(frozen=True)
class Partition:
    """A model cut for training.

    Attributes:
        front: Gives the inputs of the body that are not the model's own, or None.
        body: What torch trains; its initializers have the model's names.
        frozen: Why each operator that torch cannot run is left out, by node name.
    """

    front: ir.Model | None
    body: ir.Model
    frozen: dict[str, str]


def partition(model: ir.Model) -> Partition:
    """Cut ``model`` around the operators that torch cannot run, so that as many weights as possible can learn.

    Raises:
        UnsupportedError: Nothing trainable is left; the operators are named.
    """
    model = model_file.clone(model)
    shapes.infer(model)
    unsupported_nodes = find_unsupported_nodes(model)
    body, inputs, outputs = _cut(model, unsupported_nodes)
    if any(_is_sequence(value) for value in (*inputs, *outputs)):  # only tensors are fed, and learnt from
        for node in model.graph:
            if any(value is not None and _is_sequence(value) for value in (*node.inputs, *node.outputs)):
                unsupported_nodes.setdefault(node, f"{node.op_type} of a sequence")
        body, inputs, outputs = _cut(model, unsupported_nodes)
    frozen = {node.name or node.op_type: reason for node, reason in unsupported_nodes.items()}
    if not unsupported_nodes:
        return Partition(None, model, frozen)
    body_inputs, body_outputs = _unique_names(inputs), _unique_names(outputs)
    weights = find_weights(model.graph)
    if not body_outputs or not any(v is not None and v.name in weights for node in body for v in node.inputs):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in frozen.items())
        raise UnsupportedError(f"nothing can be trained around what torch cannot run: {reasons}")
    front_model = tap_outputs(model, body_inputs, only=True) if body_inputs else None
    return Partition(front_model, extract_subgraph(model, body_inputs, body_outputs), frozen)


def _cut(model: ir.Model, unsupported_nodes: Iterable[ir.Node]) -> tuple[list[ir.Node], list[ir.Value], list[ir.Value]]:
    """The nodes between what is in front and what is behind, what they read from the one, and what they give to the other
    or out.
    """
    front, behind = _assign_sides(model, list(unsupported_nodes))
    body = [node for node in model.graph if node not in front and node not in behind]
    inputs = [value for node in body for value in node.inputs if value is not None and value.producer() in front]
    outputs = [
        value
        for node in body
        for value in node.outputs
        if value.is_graph_output() or any(use.node in behind for use in value.uses())
    ]
    return body, inputs, outputs


def _is_sequence(value: ir.Value) -> bool:
    return isinstance(value.type, (ir.SequenceType, ir.OptionalType))


def _assign_sides(model: ir.Model, unsupported_nodes: list[ir.Node]) -> tuple[set[ir.Node], set[ir.Node]]:
    """The nodes in front of the body and those behind it, each refused one on the side that costs fewer weights."""
    front: set[ir.Node] = set()
    behind: set[ir.Node] = set()
    parameter_counts = {name: weight.parameter.numel() for name, weight in find_weights(model.graph).items()}
    for node in unsupported_nodes:
        if node in front or node in behind:
            continue
        ancestors, descendants = _find_closure(node, ir.Node.predecessors), _find_closure(node, ir.Node.successors)
        # A side is open only if it keeps "in front" closed under ancestors and "behind" under descendants.
        if not ancestors & behind and (
            descendants & front
            or _count_parameters(ancestors, parameter_counts) <= _count_parameters(descendants, parameter_counts)
        ):
            front |= ancestors
        else:
            behind |= descendants
    return front, behind


def _find_closure(node: ir.Node, get_neighbors: Callable[[ir.Node], Sequence[ir.Node]]) -> set[ir.Node]:
    seen = {node}
    stack = [node]
    while stack:
        new = set(get_neighbors(stack.pop())) - seen
        seen |= new
        stack += new
    return seen


def _count_parameters(nodes: set[ir.Node], parameter_counts: dict[str, int]) -> int:
    names = {v.name for node in nodes for v in node.inputs if v is not None and v.name in parameter_counts}
    return sum(parameter_counts[str(name)] for name in names)


def _unique_names(values: Iterable[ir.Value]) -> list[str]:
    return list(dict.fromkeys(str(value.name) for value in values))


def extract_subgraph(model: ir.Model, input_names: list[str], output_names: list[str]) -> ir.Model:
    """The part of ``model`` from the tensors ``input_names`` (and its own inputs) to those ``output_names``."""
    submodel = tap_outputs(model, output_names, only=True)
    graph = submodel.graph
    for node in list(graph):
        for output in node.outputs:
            if output.name in input_names:
                source = ir.Value(name=output.name, shape=output.shape, type=output.type)
                output.name = f"{output.name}_frozen"
                output.replace_all_uses_with(source)
                graph.inputs.append(source)
    GraphEditor(graph).remove_all_unread()
    for value in list(graph.inputs):
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)
    return submodel
