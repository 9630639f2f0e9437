"""SequenceAt(SplitToSequence(x, sizes), i), for every reader and known i → Split(x, sizes), output i.

PyTorch's exporters write ``split`` and ``chunk`` this way, and a runtime copies every part into the sequence and out.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.simplify.arithmetic import extent, lookup
from onnxslim.simplify.ops import decided
from onnxslim.simplify.rule import Found, Rule, Scene, const, op

#: Opset where the sizes of Split became an input.
AS_INPUT = 13


def match(node: ir.Node, scene: Scene) -> Found:
    """The SplitToSequence: all that reads it goes with it."""
    sequence, source = node.outputs[0], node.inputs[0]
    readers = [use.node for use in sequence.uses()]
    if any(reader.op_type != "SequenceAt" or reader.domain or reader.graph is not node.graph for reader in readers):
        return "the sequence is read as a whole"
    dims = extent(source)
    if not readers or sequence.is_graph_output() or source is None or dims is None:
        return None
    axis = node.attributes.get_int("axis", 0) % len(dims)
    sizes = _sizes(node, dims[axis], scene)
    places = [lookup(reader.inputs[1], scene.integers) for reader in readers]
    if isinstance(sizes, str):
        return sizes
    if any(place is None or place.size != 1 or not decided(place) for place in places):
        return "which part is read is only known at run time"
    indices = [int(place.reshape(())) for place in places if place is not None]
    if not all(-len(sizes) <= index < len(sizes) for index in indices):
        return "it reads a part that is not there"
    parts = split(source, axis, sizes, scene, sequence)
    found: dict[ir.Value, ir.Value] = {}
    for reader, index in zip(readers, indices, strict=True):
        part = parts[index]
        found[reader.outputs[0]] = op("Identity", [part]) if part in found.values() else part
    return found


def _sizes(node: ir.Node, dim: object, scene: Scene) -> list[int] | str:
    """How long each part is along the axis of ``dim`` elements, or why that is not known."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is None:
        return "its parts lose the axis, or there is one for each element"
    known = lookup(given, scene.integers)
    if known is None or not decided(known):
        return "the sizes of the parts are only known at run time"
    if known.ndim:
        return [int(size) for size in known.flat]
    size = int(known.reshape(()))
    if not isinstance(dim, int) or size < 1:
        return "how many parts there are is only known at run time"
    whole, rest = divmod(dim, size)
    return [size] * whole + [rest] * bool(rest)


def split(source: ir.Value, axis: int, sizes: list[int], scene: Scene, like: ir.Value) -> list[ir.Value]:
    """The outputs of a new Split of ``source`` into ``sizes``, which are called after ``like``."""
    attributes: dict[str, int | list[int]] = {"axis": axis}
    inputs: list[ir.Value | None] = [source]
    if scene.opset < AS_INPUT:
        attributes["split"] = sizes
    else:
        inputs.append(const(np.asarray(sizes, np.int64), like))
    maker = op("Split", inputs, attributes, outputs=len(sizes)).producer()
    assert maker is not None
    return list(maker.outputs)


RULE = Rule("sequences", ("SplitToSequence",), match)
