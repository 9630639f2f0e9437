"""Linear layers in int8 whose inputs are quantised as they come, written into the graph.

Every linear layer becomes (ONNX, opset 11)::

    codes, scale, zero = DynamicQuantizeLinear(x)        # one for all layers that read x
    y = Cast(MatMulInteger(codes, W, zero)) * (scale * w_scale) + bias

which onnxruntime fuses into MatMulIntegerToFloat or DynamicQuantizeMatMul. Weights are int8, symmetric, one scale per
output. Embedding tables are stored as int8 rows with a scale each; only the rows that are looked up are converted.
Products of two activations stay float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.quantization.linear_layers import EmbeddingTable, MatMulLayer, WeightMatrix, find_weight_matrices
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight
from onnxslim.quantization.qdq.writer import GraphWriter, remove_unused_values


@dataclass(frozen=True)
class RewrittenLayer:
    """A layer that was rewritten.

    Attributes:
        name: The layer.
        op: What it was.
        weight_names: Names under which the runtime's graph may read its int8 weights.
    """

    name: str
    op: str
    weight_names: tuple[str, ...]


def write_dynamic(
    model: ir.Model, weight_matrices: Sequence[WeightMatrix], *, reduce_range: bool = False
) -> list[RewrittenLayer]:
    """Rewrite the linear layers and embedding tables that read ``weight_matrices``, in place.

    Args:
        model: Nodes named (:func:`~onnxslim.graph.traversal.name_nodes`), opset 11 or newer.
        weight_matrices: Its weights (:func:`~onnxslim.quantization.linear_layers.find_weight_matrices`).
        reduce_range: Leave room for sums of two products in 16 bits (``pairs.py``).
    """
    writer = GraphWriter(model)
    quantized_inputs: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ...]] = {}
    rewritten: list[RewrittenLayer] = []
    for weight in weight_matrices:
        int8_weight = Int8Weight(writer, weight, reduce_range)
        for linear in weight.linear_layers:
            rewritten.append(_rewrite_linear_layer(writer, linear, int8_weight, quantized_inputs))
        for table in weight.tables:
            rewrite_embedding_table(writer, table, int8_weight)
            rewritten.append(RewrittenLayer(table.name, "Gather", (str(int8_weight.codes.name),)))
        remove_unused_values(model, weight.weight_value)
    return rewritten


class Int8Weight:
    """int8 codes of a weight and their scales, written once for all its readers."""

    def __init__(self, writer: GraphWriter, weight: WeightMatrix, reduce_range: bool = False) -> None:
        array, axis, stem = weight.array, weight.scale_axis, str(weight.weight_value.name)
        scales = compute_weight_scales(array, axis, reduce_range=reduce_range)
        codes = quantize_weight(array, scales, axis)
        store_transposed = axis == 0 and not weight.tables  # nobody needs it as it lies: MatMulInteger reads (K, N)
        self.outputs_first = axis == 0 and not store_transposed
        self.codes = writer.add_initializer(f"{stem}_quantized", codes.T if store_transposed else codes)
        self.scales = writer.add_initializer(f"{stem}_scale", scales)
        self.scale_column: ir.Value | None = None

    def get_scale_column(self, writer: GraphWriter) -> ir.Value:
        """The scales as a column, one a row."""
        if self.scale_column is None:
            array = self.scales.const_value
            assert array is not None
            self.scale_column = writer.add_initializer(f"{self.scales.name}_column", array.numpy().reshape(-1, 1))
        return self.scale_column


def _rewrite_linear_layer(
    writer: GraphWriter,
    linear: MatMulLayer,
    int8_weight: Int8Weight,
    quantized_inputs: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ...]],
) -> RewrittenLayer:
    node, name, x = linear.node, linear.name, linear.activation
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if (x, graph) not in quantized_inputs:
        dynamic = writer.insert_before(
            _find_first_reader(x, graph), "DynamicQuantizeLinear", x, name=f"{x.name}_DynamicQuantizeLinear",
            outputs=3, dtype=ir.DataType.UINT8, shape=x.shape,
        )  # fmt: skip
        quantized_inputs[x, graph] = tuple(dynamic.outputs)
    codes, scale, zero_point = quantized_inputs[x, graph]
    matrix = int8_weight.codes
    weight_names: tuple[str, ...] = (str(matrix.name),)
    if int8_weight.outputs_first:
        matrix = writer.insert_before(
            node, "Transpose", matrix, name=f"{name}_codes", attributes={"perm": [1, 0]}, dtype=ir.DataType.INT8
        ).outputs[0]
        weight_names += (str(matrix.name),)
    shape = node.outputs[0].shape
    scales = writer.insert_before(
        node, "Mul", scale, int8_weight.scales, name=f"{name}_scales", dtype=ir.DataType.FLOAT
    ).outputs[0]
    product = writer.insert_before(
        node, "MatMulInteger", codes, matrix, zero_point, name=f"{name}_MatMulInteger", dtype=ir.DataType.INT32, shape=shape
    ).outputs[0]
    float_product = writer.insert_float_cast(node, product, name=f"{name}_Cast", shape=shape)
    last = writer.insert_before(node, "Mul", float_product, scales, name=f"{name}_Mul", dtype=ir.DataType.FLOAT, shape=shape)
    if linear.bias is not None:
        last = writer.insert_before(node, "Add", last.outputs[0], linear.bias, name=f"{name}_Add")
    writer.replace_node(node, last)
    last.name = name
    return RewrittenLayer(name, node.op_type, weight_names)


def rewrite_embedding_table(writer: GraphWriter, table: EmbeddingTable, int8_weight: Int8Weight) -> None:
    """A Gather of int8 rows and of their scales, and their product, instead of ``table``."""
    node = table.node
    ids = node.inputs[1]
    codes = writer.insert_before(node, "Gather", int8_weight.codes, ids, name=f"{table.name}_codes", dtype=ir.DataType.INT8)
    float_rows = writer.insert_float_cast(node, codes.outputs[0], name=f"{table.name}_Cast")
    scales = writer.insert_before(
        node, "Gather", int8_weight.get_scale_column(writer), ids, name=f"{table.name}_scales", dtype=ir.DataType.FLOAT
    )
    last = writer.insert_before(node, "Mul", float_rows, scales.outputs[0], name=f"{table.name}_Mul")
    writer.replace_node(node, last)
    last.name = table.name


def _find_first_reader(x: ir.Value, graph: ir.Graph) -> ir.Node:
    """The first node of ``graph`` that reads ``x``."""
    readers = {use.node for use in x.uses()}
    return next(node for node in graph if node in readers)


def write_weights(
    writer: GraphWriter,
    report: StepReport,
    bits: int,
    exclude: Sequence[str],
    write_layers: Callable[[GraphWriter, WeightMatrix, int], None],
) -> None:
    """Weights alone, in place: tables in int8 rows, and linear layers as ``write_layers`` writes those of one weight in
    ``bits``.

    A weight that both a table and a layer read is left as it is: one copy for both is for the caller to make.
    """
    for weight in find_weight_matrices(writer.model, StepReport(""), exclude):
        if weight.tables and weight.linear_layers:
            continue
        if weight.tables:
            int8_weight = Int8Weight(writer, weight)
            for table in weight.tables:
                rewrite_embedding_table(writer, table, int8_weight)
                report.count("embedding tables in int8")
        else:
            write_layers(writer, weight, bits)
            report.count(f"linear layers in int{bits} blocks", len(weight.linear_layers))
        remove_unused_values(writer.model, weight.weight_value)
