"""How many axes a tensor can have, when inference cannot tell: what its producer can make, what its readers accept.

Exporters trace ``x.squeeze()`` as an If whose branches differ in rank. The LSTM or Conv that reads the result accepts
one rank only, so on every input that the model accepts at all, one branch runs. A set of ranks, or None for any.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.layers import CONV_OPS
from onnxslim.graph.traversal import iter_subgraphs
from onnxslim.simplification.symbolic_shapes.inference import KnownIntegers, resolve_axes

Ranks = frozenset[int]

#: At most this many nodes are followed, one behind the other.
MAX_DEPTH = 12

#: Ops whose result has the rank of their first input.
RANK_PRESERVING_OPS = frozenset(
    {"Cast", "Clip", "Dropout", "Identity", "LeakyRelu", "LogSoftmax", "Neg", "Relu", "Sigmoid", "Softmax", "Tanh"}
)
#: op type -> the rank its first input must have.
REQUIRED_RANKS = {"LSTM": 3, "GRU": 3, "RNN": 3, "Gemm": 2}


def find_possible_ranks(value: ir.Value, known: KnownIntegers, depth: int = MAX_DEPTH) -> Ranks | None:
    """The ranks that the producer of ``value`` can give it."""
    dims = shapes.get_dims(value)
    if dims is not None:
        return frozenset({len(dims)})
    node = value.producer()
    if node is None or node.domain or not depth:
        return None
    if node.op_type == "If":
        index = list(node.outputs).index(value)
        branches = [find_possible_ranks(graph.outputs[index], known, depth - 1) for graph in iter_subgraphs(node)]
        return None if None in branches else frozenset().union(*(ranks for ranks in branches if ranks))
    shift = _rank_shift(node, known)
    source = node.inputs[0] if node.inputs else None
    before = None if shift is None or source is None else find_possible_ranks(source, known, depth - 1)
    return None if before is None or shift is None else frozenset(rank + shift for rank in before)


def find_accepted_ranks(value: ir.Value, known: KnownIntegers, depth: int = MAX_DEPTH) -> Ranks | None:
    """The ranks of ``value`` with which all its readers in the same graph can run."""
    common: Ranks | None = None
    for node, index in value.uses():
        if index or node.domain or node.graph is not value.graph or not depth:
            continue
        ranks = _find_reader_ranks(node, known, depth)
        if ranks is not None:
            common = ranks if common is None else common & ranks
    return common


def _find_reader_ranks(node: ir.Node, known: KnownIntegers, depth: int) -> Ranks | None:
    if node.op_type in REQUIRED_RANKS:
        return frozenset({REQUIRED_RANKS[node.op_type]})
    if node.op_type in CONV_OPS:
        weight = shapes.get_dims(node.inputs[1])
        return None if weight is None else frozenset({len(weight)})
    shift = _rank_shift(node, known)
    after = None if shift is None else find_accepted_ranks(node.outputs[0], known, depth - 1)
    return None if after is None or shift is None else frozenset(rank - shift for rank in after)


def _rank_shift(node: ir.Node, known: KnownIntegers) -> int | None:
    """By how much the rank of the result exceeds that of the first input."""
    if node.op_type in RANK_PRESERVING_OPS:
        return 0
    if node.op_type in ("Unsqueeze", "Squeeze"):
        named = resolve_axes(node, known, rank=64)  # only how many matters here
        if named is not None:
            return len(named) if node.op_type == "Unsqueeze" else -len(named)
    return None
