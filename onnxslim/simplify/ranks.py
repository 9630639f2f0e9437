"""How many axes a tensor can have, when inference cannot tell: what its producer can make, what its readers accept.

Exporters trace ``x.squeeze()`` as an If whose branches differ in rank. The LSTM or Conv that reads the result accepts
one rank only, so on every input that the model accepts at all, one branch runs. A set of ranks, or None for any.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.simplify.arithmetic import Known, axes
from onnxslim.simplify.nested import subgraphs

Ranks = frozenset[int]

#: How far a question is followed.
DEPTH = 12

#: Ops whose result has the rank of their first input.
KEEP = frozenset(
    {"Cast", "Clip", "Dropout", "Identity", "LeakyRelu", "LogSoftmax", "Neg", "Relu", "Sigmoid", "Softmax", "Tanh"}
)
#: op type -> the rank its first input must have.
ACCEPTS = {"LSTM": 3, "GRU": 3, "RNN": 3, "Gemm": 2}


def makes(value: ir.Value, known: Known, depth: int = DEPTH) -> Ranks | None:
    """The ranks that the producer of ``value`` can give it."""
    dims = shapes.dims(value)
    if dims is not None:
        return frozenset({len(dims)})
    node = value.producer()
    if node is None or node.domain or not depth:
        return None
    if node.op_type == "If":
        index = list(node.outputs).index(value)
        branches = [makes(graph.outputs[index], known, depth - 1) for graph in subgraphs(node)]
        return None if None in branches else frozenset().union(*(ranks for ranks in branches if ranks))
    shift = _shift(node, known)
    source = node.inputs[0] if node.inputs else None
    before = None if shift is None or source is None else makes(source, known, depth - 1)
    return None if before is None or shift is None else frozenset(rank + shift for rank in before)


def accepted(value: ir.Value, known: Known, depth: int = DEPTH) -> Ranks | None:
    """The ranks of ``value`` with which all its readers in the same graph can run."""
    found: Ranks | None = None
    for node, index in value.uses():
        if index or node.domain or node.graph is not value.graph or not depth:
            continue
        ranks = _reader_accepts(node, known, depth)
        if ranks is not None:
            found = ranks if found is None else found & ranks
    return found


def _reader_accepts(node: ir.Node, known: Known, depth: int) -> Ranks | None:
    if node.op_type in ACCEPTS:
        return frozenset({ACCEPTS[node.op_type]})
    if node.op_type in ("Conv", "ConvTranspose"):
        weight = shapes.dims(node.inputs[1])
        return None if weight is None else frozenset({len(weight)})
    shift = _shift(node, known)
    after = None if shift is None else accepted(node.outputs[0], known, depth - 1)
    return None if after is None or shift is None else frozenset(rank - shift for rank in after)


def _shift(node: ir.Node, known: Known) -> int | None:
    """By how much the rank of the result exceeds that of the first input."""
    if node.op_type in KEEP:
        return 0
    if node.op_type in ("Unsqueeze", "Squeeze"):
        named = axes(node, known, rank=64)  # only how many matters here
        if named is not None:
            return len(named) if node.op_type == "Unsqueeze" else -len(named)
    return None
