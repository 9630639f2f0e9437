"""Static caches: buffers of a fixed size that a model writes by position, and gives back as large as they were.

Exporters write ``cache[:, :, position] = key`` as ScatterND, ScatterElements or TensorScatter, as a Where over positions, or
as what is before the position, the new part and what is behind it in a Concat, each also between Transposes.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

#: Ops that pass a buffer on as it is.
_PASSING_OPS = ("Identity", "Cast")


def find_written_axis(value: ir.Value) -> int | None:
    """The axis of ``value``, an input of the graph with a known shape, along which the model writes it by position.

    None where it does not, or where that axis has no fixed size of more than 1.
    """
    if value.shape is None:
        return None
    axis = _find_axis(value, tuple(range(len(value.shape))))
    size = None if axis is None else value.shape[axis]
    return axis if isinstance(size, int) and size > 1 else None


def _find_axis(value: ir.Value, axes: tuple[int, ...]) -> int | None:
    """The same of a tensor whose axes are those ``axes`` of the input."""
    for node, position in value.uses():
        if node.domain:
            continue
        if node.op_type == "Transpose":
            order = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(len(axes))[::-1]
            found = _find_axis(node.outputs[0], tuple(axes[a] for a in order))
        elif node.op_type in _PASSING_OPS:
            found = _find_axis(node.outputs[0], axes)
        else:
            find = _WRITERS.get(node.op_type)
            axis = None if find is None else find(node, position, len(axes))
            found = axes[axis] if axis is not None and -len(axes) <= axis < len(axes) else None
        if found is not None:
            return found
    return None


def _find_scatter_axis(node: ir.Node, position: int, rank: int) -> int | None:
    """ScatterND's indices (…, k) name places on the first k axes: those before the last are whole ranges."""
    indices = node.inputs[1]
    if position != 0 or indices is None:
        return None
    depth = indices.shape[-1] if indices.shape is not None and len(indices.shape) else None
    if isinstance(depth, int):
        return depth - 1
    producer = indices.producer()
    return len(producer.inputs) - 1 if producer is not None and producer.op_type == "Concat" else 0


def _find_where_axis(node: ir.Node, position: int, rank: int) -> int | None:
    """The one axis that the condition tells places of apart."""
    condition = node.inputs[0]
    shape = None if position == 0 or condition is None else condition.shape or _infer_shape(condition)
    if shape is None:
        return None
    wide = [a - len(shape) for a, size in enumerate(shape) if size != 1]
    return wide[0] if len(wide) == 1 else None


def _infer_shape(value: ir.Value) -> ir.Shape | None:
    """The shape of ``value`` as inference tells it, where the file does not."""
    producer = value.producer()
    graph = None if producer is None else producer.graph
    if producer is None or not isinstance(graph, ir.Graph):
        return None
    place = list(graph).index(producer), list(producer.outputs).index(value)
    model = ir.Model(graph.clone(), ir_version=10)
    ShapeInferencePass()(model)
    return list(model.graph)[place[0]].outputs[place[1]].shape


def _find_concat_axis(node: ir.Node, position: int, rank: int) -> int | None:
    """Of a Slice of the buffer: the axis that it is joined again along with another Slice of it and what is new between."""
    buffer = node.inputs[0]
    for reader, _ in node.outputs[0].uses() if position == 0 else ():
        parts = [value.producer() for value in reader.inputs if value is not None]
        kept = [p for p in parts if p is not None and p.op_type == "Slice" and p.inputs[0] is buffer]
        if reader.op_type == "Concat" and 2 <= len(kept) < len(parts):
            return reader.attributes.get_int("axis", 0)
    return None


def _read_axis(default: int) -> Callable[[ir.Node, int, int], int | None]:
    return lambda node, position, _: node.attributes.get_int("axis", default) if position == 0 else None


#: Op that writes a buffer → the axis it writes along, of (node, which of its inputs the buffer is, the buffer's rank).
_WRITERS: dict[str, Callable[[ir.Node, int, int], int | None]] = {
    "ScatterElements": _read_axis(0),
    "ScatterND": _find_scatter_axis,
    "Slice": _find_concat_axis,
    "TensorScatter": _read_axis(-2),
    "Where": _find_where_axis,
}
