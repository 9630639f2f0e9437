"""Which tensors have as many elements as the data say: lists of what was found, whose length is another for each sample."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.traversal import iter_reads, iter_subgraphs, walk

#: Ops that give out as many elements as they find.
_FINDING_OPS = frozenset({"Compress", "NonMaxSuppression", "NonZero", "StringSplit", "Unique"})
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def find_data_dependent(graph: ir.Graph) -> set[ir.Value]:
    """What is computed from the outputs of an op that finds: its shape, or what stands where in it, is the data's."""
    dependent: set[ir.Value] = set()
    for node in graph:
        inner_nodes = (inner for body in iter_subgraphs(node) for inner in walk(body, iter_subgraphs))
        finds = any(each.op_type in _FINDING_OPS for each in (node, *inner_nodes))
        if finds or any(value in dependent for value in iter_reads(node)):
            dependent.update(node.outputs)
    return dependent


def find_comparable_tensors(graph: ir.Graph) -> list[str]:
    """Float tensors that show what becomes of the outputs and can be subtracted from those of another model, in order.

    An output, where nothing that it is computed from has a length that the data decide; else, in its place, the tensors
    that such a length is found from and the last ones beside it.
    """
    dependent = find_data_dependent(graph)
    comparable: dict[str, None] = {}
    seen: set[ir.Value] = set()
    pending = list(graph.outputs)
    while pending:
        value = pending.pop(0)
        producer = value.producer()
        if value in seen or producer is None:
            continue
        seen.add(value)
        is_dependent = value in dependent
        if not is_dependent and get_const_array(value) is not None:
            continue
        if not is_dependent and (value.dtype in _FLOATS or value.dtype is None):
            comparable[str(value.name)] = None
        elif is_dependent or not value.is_graph_output():  # a comparison, or an index: what it is made of
            pending += [read for read in iter_reads(producer) if read.graph is graph]
    return list(comparable)
