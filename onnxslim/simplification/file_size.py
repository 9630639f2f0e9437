"""How large the file will be, without writing it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxslim.graph.traversal import iter_subgraphs, walk, walk_graphs
from onnxslim.model_io import model_file
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR

#: Bytes that a node or an initializer takes besides its names and data: field tags, lengths, dims. On the safe side.
OVERHEAD_BYTES = 12

#: Share of the bytes that are no elements of initializers by which the estimate of them may be off.
ESTIMATE_UNCERTAINTY = 0.3

PLACEHOLDER_NAME = "a value"

#: Above this many bytes of tensors a model is not serialised to be measured; the structure weighs next to nothing.
MAX_MEASURED_BYTES = 200_000_000


def estimate_bytes(model: ir.Model) -> int:
    """Bytes of the file with its external data, from the lengths of names and tensors; good for comparing two forms."""
    total = sum(len(value.name or "") + OVERHEAD_BYTES + _nbytes(value.const_value) for value in _iter_initializers(model))
    if model.ir_version < FREE_INITIALIZERS_IR:
        total += sum(len(name) + 2 * OVERHEAD_BYTES for name in model.graph.initializers)
    return total + sum(node_bytes(node) for node in walk(model.graph, iter_subgraphs))


def estimate_uncertainty(model: ir.Model) -> float:
    """By how many bytes an estimate may be off; the elements of tensors are counted exactly."""
    return ESTIMATE_UNCERTAINTY * (estimate_bytes(model) - _count_element_bytes(model))


def node_bytes(node: ir.Node) -> int:
    """Bytes that ``node`` takes, without the graphs it holds; a value that has no name yet counts as a short one."""
    total = OVERHEAD_BYTES + len(node.name or "") + len(node.op_type) + len(node.domain) + len(node.doc_string or "")
    total += sum(2 + len(value.name or PLACEHOLDER_NAME) for value in (*node.inputs, *node.outputs) if value is not None)
    return total + sum(OVERHEAD_BYTES + len(name) + _attribute_bytes(value) for name, value in node.attributes.items())


def measure_bytes(model: ir.Model) -> int:
    """Bytes of the file as written; of a very large model, the estimate."""
    is_large = _count_element_bytes(model) > MAX_MEASURED_BYTES
    return estimate_bytes(model) if is_large else model_file.count_bytes(model)


def _count_element_bytes(model: ir.Model) -> int:
    return sum(_nbytes(value.const_value) for value in _iter_initializers(model))


def _iter_initializers(model: ir.Model) -> Iterator[ir.Value]:
    for graph in walk_graphs(model.graph, iter_subgraphs):
        yield from graph.initializers.values()


def _nbytes(tensor: ir.TensorProtocol | None) -> int:
    return 0 if tensor is None else int(tensor.nbytes)


def _attribute_bytes(attribute: ir.Attr) -> int:
    if attribute.is_ref() or attribute.value is None:
        return 0
    if attribute.type is ir.AttributeType.TENSOR:
        return _nbytes(attribute.value)
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRING):
        return 2 * len(attribute.value)
    return 0  # a number; a graph is walked
