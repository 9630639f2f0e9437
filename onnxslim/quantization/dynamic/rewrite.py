"""Linear layers in int8 whose inputs are quantised as they come, written into the graph.

Every linear layer becomes (ONNX, opset 11)::

    codes, scale, zero = DynamicQuantizeLinear(x)        # one for all layers that read x
    y = Cast(MatMulInteger(codes, W, zero)) * (scale * w_scale) + bias

which onnxruntime fuses into MatMulIntegerToFloat or DynamicQuantizeMatMul. Weights are int8, symmetric, one scale per
output. Large embedding tables, and those that a layer reads too, are stored as int8 rows with a scale each; only the rows
that are looked up are converted. Products of two activations stay float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.linear_layers import EmbeddingTable, MatMulLayer, WeightMatrix, find_weight_matrices
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight

#: Elements from which on a table's rows are converted as they are looked up: below, expanding it at load costs no memory
#: to speak of and saves three nodes at every run.
MIN_TABLE_ELEMENTS = 1 << 22


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
    editor = GraphEditor(model.graph)
    quantized_inputs: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ...]] = {}
    rewritten: list[RewrittenLayer] = []
    for weight in weight_matrices:
        if not weight.linear_layers and weight.array.size < MIN_TABLE_ELEMENTS:
            continue
        int8_weight = Int8Weight(editor, weight, reduce_range)
        for linear in weight.linear_layers:
            rewritten.append(_rewrite_linear_layer(editor, linear, int8_weight, quantized_inputs))
        for table in weight.tables:
            rewrite_embedding_table(editor, table, int8_weight)
            rewritten.append(RewrittenLayer(table.name, "Gather", (str(int8_weight.codes.name),)))
    return rewritten


class Int8Weight:
    """int8 codes of a weight, written once for all its readers, and its scales in the forms that they read."""

    def __init__(self, editor: GraphEditor, weight: WeightMatrix, reduce_range: bool = False) -> None:
        array, axis = weight.array, weight.scale_axis
        self._editor, self._stem = editor, str(weight.weight_value.name)
        self._scales = compute_weight_scales(array, axis, reduce_range=reduce_range)
        codes = quantize_weight(array, self._scales, axis)
        store_transposed = axis == 0 and not weight.tables  # nobody needs it as it lies: MatMulInteger reads (K, N)
        self.outputs_first = axis == 0 and not store_transposed
        self.codes = editor.add_initializer(f"{self._stem}_quantized", codes.T if store_transposed else codes)

    @cached_property
    def scales(self) -> ir.Value:
        """The scales as a vector."""
        return self._editor.add_initializer(f"{self._stem}_scale", self._scales)

    @cached_property
    def scale_column(self) -> ir.Value:
        """The scales as a column, one a row."""
        return self._editor.add_initializer(f"{self._stem}_scale_column", self._scales.reshape(-1, 1))


def _rewrite_linear_layer(
    editor: GraphEditor,
    linear: MatMulLayer,
    int8_weight: Int8Weight,
    quantized_inputs: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ...]],
) -> RewrittenLayer:
    node, name, x = linear.node, linear.name, linear.activation
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if (x, graph) not in quantized_inputs:
        dynamic = editor.add_node(
            "DynamicQuantizeLinear", x, before=_find_first_reader(x, graph), name=f"{x.name}_DynamicQuantizeLinear",
            outputs=3, dtype=ir.DataType.UINT8, shape=x.shape,
        ).producer()  # fmt: skip
        assert dynamic is not None
        quantized_inputs[x, graph] = tuple(dynamic.outputs)
    codes, scale, zero_point = quantized_inputs[x, graph]
    matrix = int8_weight.codes
    weight_names: tuple[str, ...] = (str(matrix.name),)
    if int8_weight.outputs_first:
        matrix = editor.add_node(
            "Transpose", matrix, before=node, name=f"{name}_codes", attributes={"perm": [1, 0]}, dtype=ir.DataType.INT8
        )
        weight_names += (str(matrix.name),)
    shape = node.outputs[0].shape
    scales = editor.add_node("Mul", scale, int8_weight.scales, before=node, name=f"{name}_scales", dtype=ir.DataType.FLOAT)
    product = editor.add_node(
        "MatMulInteger", codes, matrix, zero_point, before=node, name=f"{name}_MatMulInteger", dtype=ir.DataType.INT32,
        shape=shape,
    )  # fmt: skip
    float_product = editor.add_cast(product, ir.DataType.FLOAT, before=node, name=f"{name}_Cast")
    last = editor.add_node(
        "Mul", float_product, scales, before=node, name=f"{name}_Mul", dtype=ir.DataType.FLOAT, shape=shape
    )
    if linear.bias is not None:
        last = editor.add_node("Add", last, linear.bias, before=node, name=f"{name}_Add")
    editor.replace_node(node, last)
    return RewrittenLayer(name, node.op_type, weight_names)


def rewrite_embedding_table(editor: GraphEditor, table: EmbeddingTable, int8_weight: Int8Weight) -> None:
    """A Gather of int8 rows and of their scales, and their product, instead of ``table``."""
    node = table.node
    ids = node.inputs[1]
    codes = editor.add_node(
        "Gather", int8_weight.codes, ids, before=node, name=f"{table.name}_codes", dtype=ir.DataType.INT8
    )
    float_rows = editor.add_cast(codes, ir.DataType.FLOAT, before=node, name=f"{table.name}_Cast")
    scales = editor.add_node(
        "Gather", int8_weight.scale_column, ids, before=node, name=f"{table.name}_scales",
        dtype=ir.DataType.FLOAT,
    )  # fmt: skip
    editor.replace_node(node, editor.add_node("Mul", float_rows, scales, before=node, name=f"{table.name}_Mul"))


def _find_first_reader(x: ir.Value, graph: ir.Graph) -> ir.Node:
    """The first node of ``graph`` that reads ``x``."""
    readers = {use.node for use in x.uses()}
    return next(node for node in graph if node in readers)


def write_weights(
    model: ir.Model,
    bits: int,
    exclude: Sequence[str],
    write_layers: Callable[[GraphEditor, WeightMatrix, int], None],
    *,
    reads_blocks: Callable[[WeightMatrix], bool] = lambda weight: True,
    min_table_elements: float = 0,
) -> StepReport:
    """Weights alone, in place: tables in int8 rows, and linear layers as ``write_layers`` writes those of one weight in
    ``bits``.

    Args:
        model: Nodes named.
        bits: Of the layers' weights.
        exclude: Regular expressions; a weight stays float when a reader's whole name matches.
        write_layers: Writes the layers that read one weight.
        reads_blocks: Whether the layers of a weight are for ``write_layers``.
        min_table_elements: Tables below are left as they are, and so is a weight that both a table and a layer read: one
            copy for both is for the caller to make.
    """
    editor, report = GraphEditor(model.graph), StepReport("weights")
    for weight in find_weight_matrices(model, exclude)[0]:
        if weight.tables and (weight.linear_layers or weight.array.size < min_table_elements):
            continue
        if weight.tables:
            int8_weight = Int8Weight(editor, weight)
            for table in weight.tables:
                rewrite_embedding_table(editor, table, int8_weight)
                report.count("embedding tables in int8")
        elif reads_blocks(weight):
            write_layers(editor, weight, bits)
            report.count(f"linear layers in int{bits} blocks", len(weight.linear_layers))
    return report
