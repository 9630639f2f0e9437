"""SequenceAt(SplitToSequence(x, sizes), i), for every reader and known i → Split(x, sizes), output i.

PyTorch's exporters write ``make_split`` and ``chunk`` this way, and a runtime copies every part into the sequence and out.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, op
from onnxslim.simplification.symbolic_shapes.inference import lookup_integers, symbolic_dims
from onnxslim.simplification.symbolic_shapes.ops import is_concrete

#: Opset where the sizes of Split became an input.
INPUTS_SINCE_OPSET = 13


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The SplitToSequence: all that reads it goes with it."""
    sequence, source = node.outputs[0], node.inputs[0]
    readers = [use.node for use in sequence.uses()]
    if any(reader.op_type != "SequenceAt" or reader.domain or reader.graph is not node.graph for reader in readers):
        return "the sequence is read as a whole"
    dims = symbolic_dims(source)
    if not readers or sequence.is_graph_output() or source is None or dims is None:
        return None
    axis = node.attributes.get_int("axis", 0) % len(dims)
    sizes = _get_sizes(node, dims[axis], context)
    positions = [lookup_integers(reader.inputs[1], context.integers) for reader in readers]
    if isinstance(sizes, str):
        return sizes
    if any(place is None or place.size != 1 or not is_concrete(place) for place in positions):
        return "which part is read is only known at run time"
    indices = [int(place.reshape(())) for place in positions if place is not None]
    if not all(-len(sizes) <= index < len(sizes) for index in indices):
        return "it reads a part that is not there"
    parts = make_split(source, axis, sizes, context, sequence)
    replacements: dict[ir.Value, ir.Value] = {}
    for reader, index in zip(readers, indices, strict=True):
        part = parts[index]
        replacements[reader.outputs[0]] = op("Identity", [part]) if part in replacements.values() else part
    return replacements


def _get_sizes(node: ir.Node, dim: object, context: MatchContext) -> list[int] | str:
    """How long each part is along the axis of ``dim`` elements, or why that is not known."""
    sizes_value = node.inputs[1] if len(node.inputs) > 1 else None
    if sizes_value is None:
        return "its parts lose the axis, or there is one for each element"
    known = lookup_integers(sizes_value, context.integers)
    if known is None or not is_concrete(known):
        return "the sizes of the parts are only known at run time"
    if known.ndim:
        return [int(size) for size in known.flat]
    size = int(known.reshape(()))
    if not isinstance(dim, int) or size < 1:
        return "how many parts there are is only known at run time"
    whole, rest = divmod(dim, size)
    return [size] * whole + [rest] * bool(rest)


def make_split(source: ir.Value, axis: int, sizes: list[int], context: MatchContext, like: ir.Value) -> list[ir.Value]:
    """The outputs of a new Split of ``source`` into ``sizes``, which are called after ``like``."""
    attributes: dict[str, int | list[int]] = {"axis": axis}
    inputs: list[ir.Value | None] = [source]
    if context.opset < INPUTS_SINCE_OPSET:
        attributes["split"] = sizes
    else:
        inputs.append(const(np.asarray(sizes, np.int64), like))
    split_node = op("Split", inputs, attributes, outputs=len(sizes)).producer()
    assert split_node is not None
    return list(split_node.outputs)


RULE = Rule("sequences", ("SplitToSequence",), match)
