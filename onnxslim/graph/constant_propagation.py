"""Small constants made visible, so that shape inference can see through shape arithmetic.

Exporters compute Pad amounts, Reshape targets and Slice bounds with nodes (ConstantOfShape, Concat, Transpose, Cast …)
that ONNX's own data propagation does not follow. Evaluating the small ones is enough to know every shape. This works on
a private copy and is about knowing; making a model smaller is ``simplify``'s business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from onnxslim.core.gc_pause import pause_gc
from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor

#: Shape arithmetic handles vectors of ranks; anything larger is data, not a shape.
MAX_ELEMENTS = 1024

#: Ops that shape arithmetic is made of. Every one is cheap, deterministic and in ONNX's reference implementation.
SHAPE_OPS = frozenset(
    "Abs Add And Cast Ceil Concat ConstantOfShape Div Equal Expand Flatten Floor Gather Greater GreaterOrEqual Identity "
    "Less LessOrEqual Max Min Mod Mul Neg Not Or Pow Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Shape Sign "
    "Size Slice Split Sqrt Squeeze Sub Tile Transpose Unsqueeze Where".split()
)


#: Ops that rearrange what they are given.
MOVE_OPS = frozenset("Cast Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split())


def evaluate_moves(value: ir.Value | None, opset: int) -> np.ndarray | None:
    """What ``value`` holds where it is a constant, or constants that :data:`MOVE_OPS` rearrange; of any size."""
    array = get_const_array(value)
    node = None if value is None or array is not None else value.producer()
    if node is None or node.op_type not in MOVE_OPS or node.domain:
        return array
    inputs = [evaluate_moves(read, opset) for read in node.inputs]
    if any(found is None for found, read in zip(inputs, node.inputs, strict=True) if read is not None):
        return None
    outputs = evaluate_node(node, inputs, opset)
    return None if outputs is None else outputs[node.outputs.index(value)]


@pause_gc()
def propagate_constants(model: ir.Model, rounds: int = 8) -> None:
    """Replace small constant-valued nodes of the main graph by initializers, in place, and infer the shapes that are known
    then, until stable.

    Args:
        model: Its shapes are inferred as far as they are (:func:`onnxslim.graph.shapes.bind`).
        rounds: At most.
    """
    editor, known = GraphEditor(model.graph), _KnownResults(model.opset_imports.get("", 17))
    for _ in range(rounds):
        if not _fold_once(model, editor, known):
            return
        shapes.infer(model)


class _KnownResults:
    """What nodes gave on constants: every layer of a network computes the same shapes again."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._results: dict[tuple[object, ...], list[np.ndarray] | None] = {}

    def run(self, node: ir.Node, inputs: list[np.ndarray | None]) -> list[np.ndarray] | None:
        """As :func:`evaluate_node`."""
        attributes = tuple(
            (name, ir.serde.serialize_attribute(value).SerializeToString()) for name, value in node.attributes.items()
        )
        read = tuple(None if array is None else (array.dtype, array.shape, array.tobytes()) for array in inputs)
        key = (node.op_type, len(node.outputs), attributes, read)
        if key not in self._results:
            self._results[key] = evaluate_node(node, inputs, self._opset)
        return self._results[key]


def _fold_once(model: ir.Model, editor: GraphEditor, known: _KnownResults) -> bool:
    changed = False
    for node in list(model.graph):
        if node.op_type not in SHAPE_OPS or node.domain:
            continue
        arrays = _evaluate(node, known)
        if arrays is None:
            continue
        for output, array in zip(node.outputs, arrays, strict=True):
            output.replace_all_uses_with(editor.add_initializer(f"{output.name}_value", array))
        model.graph.remove(node, safe=False)
        changed = True
    return changed


def _evaluate(node: ir.Node, known: _KnownResults) -> list[np.ndarray] | None:
    if any(output.is_graph_output() for output in node.outputs):
        return None
    if node.op_type in ("Shape", "Size"):
        dims = shapes.get_static_dims(node.inputs[0])
        if dims is None:
            return None
        if node.op_type == "Size":
            return [np.asarray(math.prod(dims), np.int64)]
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(dims))
        return [np.asarray(dims[start:end], np.int64)]
    if any(output.dtype == ir.DataType.STRING for output in node.outputs):
        return None  # a Cast to text: no shape is made of it
    inputs = [get_const_array(value) for value in node.inputs]
    if any(array is None for array, value in zip(inputs, node.inputs, strict=True) if value is not None):
        return None
    if sum(array.size for array in inputs if array is not None) > MAX_ELEMENTS or _is_large(node, inputs):
        return None
    return known.run(node, inputs)


def _is_large(node: ir.Node, inputs: list[np.ndarray | None]) -> bool:
    """Whether the result would be large; asked before anything is allocated."""
    first = inputs[0]
    if first is None:
        return True
    if node.op_type == "ConstantOfShape":
        return math.prod(int(d) for d in first) > MAX_ELEMENTS
    if node.op_type == "Range":
        start, limit, delta = (float(np.asarray(array)) for array in inputs if array is not None)
        return delta == 0 or (limit - start) / delta > MAX_ELEMENTS
    if node.op_type in ("Expand", "Tile", "Reshape") and inputs[1] is not None:
        return math.prod(max(1, int(d)) for d in inputs[1]) * (first.size if node.op_type == "Tile" else 1) > MAX_ELEMENTS
    return False


def evaluate_node(node: ir.Node, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray] | None:
    """What ``node`` makes of ``inputs`` (None: one is not given) by ONNX's reference implementation; None if it fails."""
    proto = ir.serde.serialize_node(node)
    graph = onnx.helper.make_graph(
        [proto],
        "constant",
        [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(proto.input) if name],
        [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output],
    )
    feeds = {str(value.name): array for value, array in zip(node.inputs, inputs, strict=True) if value is not None}
    try:
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feeds)]
    except Exception:  # the reference raises whatever numpy does; not knowing a shape is no error
        return None
