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

from onnxslim.core.step_report import Skipped
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.finite_weights import is_finite

#: A weight with fewer elements than this saves less than the nodes and names that quantising it adds.
MIN_WEIGHT_ELEMENTS = 1024
#: Codes are numbers: what a weight makes NaN or infinite would come out finite.
NOT_FINITE_REASON = "its weights hold NaN or infinity, which no code stands for"


@dataclass(frozen=True, eq=False)
class ConstantWeightLayer:
    """A node that multiplies what it reads first by constant weights.

    Attributes:
        node: It.
    """

    node: ir.Node

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


@dataclass(frozen=True, eq=False)
class MatMulLayer(ConstantWeightLayer):
    """A MatMul or Gemm with constant weights.

    Attributes:
        weight_value: The stored weight.
        transposed: Whether ``weight_value`` is (N, K) instead of (K, N): Gemm's transB, or a Transpose in between.
    """

    weight_value: ir.Value
    transposed: bool

    @property
    def bias(self) -> ir.Value | None:
        """Gemm's C."""
        return self.node.inputs[2] if self.node.op_type == "Gemm" and len(self.node.inputs) > 2 else None

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(K, N)."""
        array = get_const_array(self.weight_value)
        assert array is not None
        first, second = array.shape
        return (second, first) if self.transposed else (first, second)


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """A Gather of rows of a constant matrix."""

    node: ir.Node
    weight_value: ir.Value

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name or ""


@dataclass
class WeightMatrix:
    """One stored matrix and everything that reads it.

    Attributes:
        weight_value: The float32 initializer (or Constant).
        linear_layers: Layers that multiply by it.
        tables: Gathers of its rows.
    """

    weight_value: ir.Value
    linear_layers: list[MatMulLayer] = field(default_factory=list)
    tables: list[EmbeddingTable] = field(default_factory=list)

    @cached_property
    def array(self) -> np.ndarray:
        """The matrix as it is stored."""
        stored = get_const_array(self.weight_value)
        assert stored is not None
        return stored

    @property
    def scale_axis(self) -> int:
        """The stored axis that scales go along: the outputs of a layer, the rows of a table."""
        return 0 if self.tables or self.linear_layers[0].transposed else 1

    @property
    def is_read_both_ways(self) -> bool:
        """Whether the outputs of some layer lie along the other axis, so that no scale is one output's for all readers."""
        return any(linear.transposed != (self.scale_axis == 0) for linear in self.linear_layers)

    @property
    def reader_names(self) -> list[str]:
        """Every reader by name."""
        return [*(reader.name for reader in self.linear_layers), *(reader.name for reader in self.tables)]


def has_large_linear_layers(model: ir.Model) -> bool:
    """Whether ``model`` has linear layers with weights enough for their inputs to be quantised as they come."""
    layers = (_match_linear_layer(node) for node in model.graph.all_nodes())
    weights = (get_const_array(layer.weight_value) for layer in layers if layer is not None)
    return any(weight is not None and weight.size >= MIN_WEIGHT_ELEMENTS for weight in weights)


def find_weight_matrices(
    model: ir.Model, exclude: Sequence[str] = (), *, find_objection: Callable[[MatMulLayer], str | None] | None = None
) -> tuple[list[WeightMatrix], list[Skipped]]:
    """The matrices of ``model`` that can be quantised, and the readers of the others.

    Args:
        model: Nodes named (:func:`~onnxslim.graph.traversal.name_nodes`).
        exclude: Regular expressions; a weight stays float when a reader's whole name matches.
        find_objection: Says why a layer cannot be done, or None.
    """
    matrices: dict[ir.Value, WeightMatrix] = {}
    skipped: list[Skipped] = []
    for node in model.graph.all_nodes():
        reader = _match_linear_layer(node) or _match_embedding_table(node)
        if reader is None:
            if node.op_type == "MatMul" and get_const_array(node.inputs[1]) is None:
                skipped.append(Skipped(node.name or "", "neither input is a constant: two activations multiply"))
            continue
        weight = matrices.setdefault(reader.weight_value, WeightMatrix(reader.weight_value))
        if isinstance(reader, MatMulLayer):
            weight.linear_layers.append(reader)
        else:
            weight.tables.append(reader)
    quantizable = []
    for weight in matrices.values():
        reason = _find_objection(weight, exclude) or next(
            filter(None, map(find_objection or (lambda linear: None), weight.linear_layers)), None
        )
        if reason is None:
            quantizable.append(weight)
        else:
            skipped += [Skipped(name, reason) for name in weight.reader_names]
    return quantizable, skipped


def find_same_weights(copy: ir.Model, weight_matrices: Iterable[WeightMatrix]) -> list[WeightMatrix]:
    """``weight_matrices`` in a copy of the model, whose nodes have the same names."""
    names = {name for weight in weight_matrices for name in weight.reader_names}
    return [weight for weight in find_weight_matrices(copy)[0] if names.issuperset(weight.reader_names)]


def _match_linear_layer(node: ir.Node) -> MatMulLayer | None:
    if node.domain or node.op_type not in ("MatMul", "Gemm"):
        return None
    source, transposed = node.inputs[1], bool(node.attributes.get_int("transB", 0))
    producer = None if source is None else source.producer()
    if producer is not None and producer.op_type == "Transpose":
        perm = producer.attributes.get_ints("perm", (1, 0))
        source, transposed = (producer.inputs[0], not transposed) if tuple(perm) == (1, 0) else (source, transposed)
    array = get_const_array(source)
    if source is None or array is None or array.dtype != np.float32 or array.ndim != 2:
        return None
    is_plain_product = node.op_type == "MatMul" or not (
        node.attributes.get_int("transA", 0)
        or node.attributes.get_float("alpha", 1.0) != 1.0
        or node.attributes.get_float("beta", 1.0) != 1.0
    )
    return MatMulLayer(node, source, transposed) if is_plain_product else None


def _match_embedding_table(node: ir.Node) -> EmbeddingTable | None:
    if node.op_type != "Gather" or node.domain or node.attributes.get_int("axis", 0) != 0:
        return None
    source, array = node.inputs[0], get_const_array(node.inputs[0])
    if source is None or array is None or array.dtype != np.float32 or array.ndim != 2:
        return None
    return None if get_const_array(node.inputs[1]) is not None else EmbeddingTable(node, source)


def _find_objection(weight: WeightMatrix, exclude: Sequence[str]) -> str | None:
    if any(re.fullmatch(pattern, name) for pattern in exclude for name in weight.reader_names):
        return "it was excluded"
    if weight.array.size < MIN_WEIGHT_ELEMENTS:
        return f"its weights are fewer than {MIN_WEIGHT_ELEMENTS}"
    if not is_finite(weight.array):
        return NOT_FINITE_REASON
    readers = {reader.node for reader in weight.linear_layers} | {reader.node for reader in weight.tables}
    for use in weight.weight_value.uses():
        consumers = (
            {transposed_use.node for transposed_use in use.node.outputs[0].uses()}
            if use.node.op_type == "Transpose"
            else {use.node}
        )
        if not consumers <= readers:
            return f"its weights are read by {use.node.op_type} {use.node.name or ''} too, which needs them in float"
    return "its weights are an output of the model" if weight.weight_value.is_graph_output() else None
