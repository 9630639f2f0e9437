"""Where a model keeps its tensors: initializers and attributes, of the main graph, functions and all subgraphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx_ir as ir


def graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """Every graph of ``model``: the main one, the bodies of its functions, and all subgraphs of both."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield graph
        yield from graph.subgraphs()


def initializers(model: ir.Model) -> Iterator[ir.Value]:
    """Every initializer, in the order of the graphs and in theirs."""
    for graph in graphs(model):
        yield from graph.initializers.values()


def every(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor: the initializers that have a value, then the attributes; a shared one as often as it is used."""
    for value in initializers(model):
        if value.const_value is not None:
            yield value.const_value
    for _, attribute in _attributes(model):
        yield from _held(attribute)


def nbytes(tensor: ir.TensorProtocol) -> int:
    """Bytes that the elements of ``tensor`` take in a file."""
    return sum(map(len, tensor.string_data())) if isinstance(tensor, ir.StringTensor) else tensor.nbytes


def replace_attributes(model: ir.Model, change: Callable[[ir.TensorProtocol, str], ir.TensorProtocol]) -> None:
    """Put ``change(tensor, label)`` in place of every tensor in an attribute; the label names the node."""
    for node, attribute in list(_attributes(model)):
        label = f"node '{node.name}' ({node.op_type}), attribute '{attribute.name}'"
        old = _held(attribute)
        new = [change(tensor, label) for tensor in old]
        if any(before is not after for before, after in zip(old, new, strict=True)):
            value = new[0] if attribute.type == ir.AttributeType.TENSOR else new
            node.attributes.add(ir.Attr(attribute.name, attribute.type, value, doc_string=attribute.doc_string))


def _attributes(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Attr]]:
    for graph in graphs(model):
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS) and not attribute.is_ref():
                    yield node, attribute


def _held(attribute: ir.Attr) -> Sequence[ir.TensorProtocol]:
    return [attribute.as_tensor()] if attribute.type == ir.AttributeType.TENSOR else attribute.as_tensors()
