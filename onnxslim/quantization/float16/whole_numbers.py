"""Places and indices that are computed in floats: above 2048 float16 holds every second integer only.

Rotary and sinusoidal embeddings turn places into phases in the graph (``Cast`` of ids, times frequencies, ``Sin``), and
exporters round sizes and boxes to integers by ``Floor``. What lies between the integers and what reads them so stays in
float32, whatever the data: they hold short texts and small pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array

WHOLE_REASON = "a phase or an index is made of integers, which float16 does not hold above 2048"
#: Integers of these may be above 2048.
_WIDE = frozenset({
    ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64,
})  # fmt: skip
#: What reads a float by its last digits.
_EXACT_READERS = frozenset({"Sin", "Cos", "Tan", "Floor", "Ceil", "Round", "Mod"})
#: What hands places on, in other forms or units.
_HANDING_ON = frozenset({
    "Mul", "Div", "Add", "Sub", "Neg", "MatMul", "Einsum", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand",
    "Transpose", "Flatten", "Slice", "Split", "Concat", "Gather", "Tile", "Cast", "Clip", "Max", "Min", "Range", "CumSum",
})  # fmt: skip


def find_whole_numbers(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    """Those of ``nodes``, producers first, that make of nothing but wide integers and constants what is read exactly, and
    what reads it so.
    """
    made, plain = set[ir.Node](), set[ir.Node]()  # of integers; of constants and of what is no larger than 1
    for node in nodes:
        floats = [value for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT]
        producers = [value.producer() for value in floats if get_const_array(value) is None]
        if _makes_floats(node) or (any(one in made for one in producers) and made.union(plain).issuperset(producers)):
            made.add(node)
        elif plain.issuperset(producers) and node.op_type != "Gather":  # which is a table of weights
            plain.add(node)
        if node in made and not _hands_on(node) and not _reads_exactly(node) and not _makes_floats(node):
            made.discard(node)
    exact = set[ir.Node]()
    for node in reversed(nodes):
        if node in made and (_reads_exactly(node) or any(one in exact for one in node.successors())):
            exact.add(node)
    return [node for node in nodes if node in exact]


def _makes_floats(node: ir.Node) -> bool:
    """Whether ``node`` makes floats of wide integers."""
    if node.op_type != "Cast" or node.domain or node.inputs[0] is None:
        return False
    return node.inputs[0].dtype in _WIDE and node.outputs[0].dtype == ir.DataType.FLOAT


def _hands_on(node: ir.Node) -> bool:
    return node.op_type in _HANDING_ON and not node.domain


def _reads_exactly(node: ir.Node) -> bool:
    """Whether ``node`` reads a float by its last digits; a Cast to integers does."""
    if node.op_type == "Cast" and not node.domain:
        return node.outputs[0].dtype is not None and node.outputs[0].dtype.is_integer()
    return node.op_type in _EXACT_READERS and not node.domain
