"""Linear layers and embedding tables wherever they stand: main graph, If and Loop bodies.

What the ways that touch weights only (or quantise activations as they come) work on. A weight is found with *all* its
readers, because tied weights (an embedding table that is also the output layer) and shared ones are quantised once or
not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.graph.constants import constant

#: A weight with fewer elements than this saves less than the nodes and names that quantising it adds.
SMALLEST = 1024


@dataclass(frozen=True, eq=False)
class Linear:
    """A MatMul or Gemm with constant weights.

    Attributes:
        node: It.
        source: The stored weight.
        transposed: Whether ``source`` is (N, K) instead of (K, N): Gemm's transB, or a Transpose in between.
    """

    node: ir.Node
    source: ir.Value
    transposed: bool

    @property
    def name(self) -> str:
        """The node's name; ``name_nodes`` made it unique."""
        return self.node.name or ""

    @property
    def activation(self) -> ir.Value:
        """What is multiplied."""
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def bias(self) -> ir.Value | None:
        """Gemm's C."""
        return self.node.inputs[2] if self.node.op_type == "Gemm" and len(self.node.inputs) > 2 else None

    @property
    def columns(self) -> tuple[int, int]:
        """(K, N)."""
        array = constant(self.source)
        assert array is not None
        first, second = array.shape
        return (second, first) if self.transposed else (first, second)


@dataclass(frozen=True, eq=False)
class Table:
    """A Gather of rows of a constant matrix."""

    node: ir.Node
    source: ir.Value

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name or ""


@dataclass
class Weight:
    """One stored matrix and everything that reads it.

    Attributes:
        source: The float32 initializer (or Constant).
        linears: Layers that multiply by it.
        tables: Gathers of its rows.
    """

    source: ir.Value
    linears: list[Linear] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    @cached_property
    def array(self) -> np.ndarray:
        """The matrix as it is stored."""
        found = constant(self.source)
        assert found is not None
        return found

    @property
    def axis(self) -> int:
        """The stored axis that scales go along: the outputs of a layer, the rows of a table."""
        return 0 if self.tables or self.linears[0].transposed else 1

    @property
    def names(self) -> list[str]:
        """Every reader by name."""
        return [*(one.name for one in self.linears), *(one.name for one in self.tables)]


def weights(
    model: ir.Model, account: Account, exclude: Sequence[str] = (), *, refuse: Callable[[Linear], str | None] | None = None
) -> list[Weight]:
    """The matrices of ``model`` that can be quantised; the others are declined in ``account`` with the reason.

    Args:
        model: Nodes named (:func:`~onnxslim.quantize.plan.name_nodes`).
        account: Told what was left alone.
        exclude: Regular expressions; a weight stays float when a reader's whole name matches.
        refuse: Says why a layer cannot be done, or None.
    """
    found: dict[ir.Value, Weight] = {}
    for node in model.graph.all_nodes():
        reader = _linear(node) or _table(node)
        if reader is None:
            if node.op_type == "MatMul" and constant(node.inputs[1]) is None:
                account.decline(node.name or "", "neither input is a constant: two activations multiply")
            continue
        weight = found.setdefault(reader.source, Weight(reader.source))
        if isinstance(reader, Linear):
            weight.linears.append(reader)
        else:
            weight.tables.append(reader)
    kept = []
    for weight in found.values():
        why = _why_not(weight, exclude) or next(filter(None, map(refuse or (lambda linear: None), weight.linears)), None)
        if why is None:
            kept.append(weight)
        else:
            for name in weight.names:
                account.decline(name, why)
    return kept


def same_in(copy: ir.Model, found: Iterable[Weight]) -> list[Weight]:
    """``found`` in a copy of the model, whose nodes have the same names."""
    names = {name for weight in found for name in weight.names}
    return [weight for weight in weights(copy, Account("")) if names.issuperset(weight.names)]


def _linear(node: ir.Node) -> Linear | None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm"):
        return None
    source, transposed = node.inputs[1], bool(node.attributes.get_int("transB", 0))
    producer = None if source is None else source.producer()
    if producer is not None and producer.op_type == "Transpose":
        perm = producer.attributes.get_ints("perm", (1, 0))
        source, transposed = (producer.inputs[0], not transposed) if tuple(perm) == (1, 0) else (source, transposed)
    array = constant(source)
    if source is None or array is None or array.dtype != np.float32 or array.ndim != 2:
        return None
    plain = node.op_type == "MatMul" or not (
        node.attributes.get_int("transA", 0)
        or node.attributes.get_float("alpha", 1.0) != 1.0
        or node.attributes.get_float("beta", 1.0) != 1.0
    )
    return Linear(node, source, transposed) if plain else None


def _table(node: ir.Node) -> Table | None:
    if node.op_type != "Gather" or node.domain not in ("", "ai.onnx") or node.attributes.get_int("axis", 0) != 0:
        return None
    source, array = node.inputs[0], constant(node.inputs[0])
    if source is None or array is None or array.dtype != np.float32 or array.ndim != 2:
        return None
    return None if constant(node.inputs[1]) is not None else Table(node, source)


def _why_not(weight: Weight, exclude: Sequence[str]) -> str | None:
    if any(re.fullmatch(pattern, name) for pattern in exclude for name in weight.names):
        return "it was excluded"
    if weight.array.size < SMALLEST:
        return f"its weights are fewer than {SMALLEST}"
    readers = {one.node for one in weight.linears} | {one.node for one in weight.tables}
    for use in weight.source.uses():
        behind = {after.node for after in use.node.outputs[0].uses()} if use.node.op_type == "Transpose" else {use.node}
        if not behind <= readers:
            return f"its weights are read by {use.node.op_type} {use.node.name or ''} too, which needs them in float"
    return "its weights are an output of the model" if weight.source.is_graph_output() else None
