"""What a quantised graph says about itself, said briefly: in a small model names weigh as much as weights.

A QDQ graph has four nodes and a dozen tensors more than the float one for each layer. Layers and their tensors keep their
names; what was put between them is numbered, and of equal scales and zero points there is one. Types and shapes are declared
where shape inference does not say them anyway.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import tensor

_PAIR = ("QuantizeLinear", "DequantizeLinear")


def compact(model: ir.Model) -> None:
    """Rename, in place, what QuantizeLinear and DequantizeLinear of the main graph read and make; same arithmetic.

    ``w7q`` are the codes of a constant, ``a7q`` those of an activation, ``w7s`` the scale, ``w7z`` the zero point and
    ``w7`` what is dequantised. Inputs and outputs of the graph keep their names, and so does what other nodes read.
    """
    graph = model.graph
    pairs = [node for node in graph if node.op_type in _PAIR and node.domain == ""]
    _share(model, pairs)
    groups: dict[ir.Value, list[ir.Node]] = {}
    for node in pairs:
        codes = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
        if codes is not None:
            groups.setdefault(codes, []).append(node)
    named = _Names(graph)
    for number, (codes, nodes) in enumerate(groups.items(), start=1):
        stem = f"{'w' if codes.is_initializer() else 'a'}{number}"
        named.give(codes, f"{stem}q")
        for node in nodes:
            node.name = ""  # None would be named again by whoever copies the graph
            for value, role in zip(node.inputs[1:], "sz", strict=False):
                if value is not None and value.is_initializer():
                    named.give(value, stem + role)
            if node.op_type == "DequantizeLinear":
                named.give(node.outputs[0], stem)
    if pairs:
        _undeclare(model)


def _undeclare(model: ir.Model) -> None:
    """Take back what is declared of tensors inside the main graph and follows from the rest."""
    inside = [value for node in model.graph for value in node.outputs if not value.is_graph_output()]
    stated = [(value.type, value.shape) for value in inside]
    for value in inside:
        value.type = value.shape = None
    shapes.infer(model)
    for value, (kind, shape) in zip(inside, stated, strict=True):
        follows = (value.type, value.shape) == (kind, shape)
        value.type, value.shape = (None, None) if follows or kind is None else (kind, shape)


class _Names:
    """Names that a graph has, each value renamed once at most."""

    def __init__(self, graph: ir.Graph) -> None:
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph.all_nodes() for v in node.outputs)]
        self._taken = {str(value.name) for value in values}
        self._done: set[ir.Value] = set()

    def give(self, value: ir.Value, name: str) -> None:
        """Call ``value`` so, or nearly so, if the outside does not know it by its name."""
        if value in self._done or value.is_graph_input() or value.is_graph_output():
            return
        if value.is_initializer() and any(use.node.op_type not in _PAIR for use in value.uses()):
            return
        while name in self._taken:
            name += "_"
        value.name = name
        self._taken.add(name)
        self._done.add(value)


def _share(model: ir.Model, pairs: list[ir.Node]) -> None:
    """Let equal scales and equal zero points be one initializer."""
    first: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
    for node in pairs:
        for position, value in list(enumerate(node.inputs))[1:]:
            known = None if value is None or value.is_graph_input() else tensor(value)
            if value is None or known is None or not value.is_initializer():
                continue
            kept = first.setdefault((str(known.dtype), tuple(known.shape.numpy()), known.tobytes()), value)
            if kept is value:
                continue
            node.replace_input_with(position, kept)
            if not value.uses() and not value.is_graph_output():
                del model.graph.initializers[str(value.name)]
