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

from onnxslim.account import Account
from onnxslim.quantize.encode import quantise_weight, weight_scales
from onnxslim.quantize.linear import Linear, Table, Weight, weights
from onnxslim.quantize.write import Writer, drop_unread


@dataclass(frozen=True)
class Written:
    """A layer that was rewritten.

    Attributes:
        name: The layer.
        op: What it was.
        codes: Names under which the runtime's graph may read its int8 weights.
    """

    name: str
    op: str
    codes: tuple[str, ...]


def write_dynamic(model: ir.Model, found: Sequence[Weight], *, narrow: bool = False) -> list[Written]:
    """Rewrite the linear layers and embedding tables that read ``found``, in place.

    Args:
        model: Nodes named (:func:`~onnxslim.quantize.plan.name_nodes`), opset 11 or newer.
        found: Its weights (:func:`~onnxslim.quantize.linear.weights`).
        narrow: Leave room for sums of two products in 16 bits (``pairs.py``).
    """
    writer = Writer(model)
    entries: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ...]] = {}
    written: list[Written] = []
    for weight in found:
        stored = Stored(writer, weight, narrow)
        for linear in weight.linears:
            written.append(_multiply(writer, linear, stored, entries))
        for table in weight.tables:
            look_up(writer, table, stored)
            written.append(Written(table.name, "Gather", (str(stored.codes.name),)))
        drop_unread(model, weight.source)
    return written


class Stored:
    """int8 codes of a weight and their scales, written once for all its readers."""

    def __init__(self, writer: Writer, weight: Weight, narrow: bool = False) -> None:
        array, axis, stem = weight.array, weight.axis, str(weight.source.name)
        scales = weight_scales(array, axis, narrow=narrow)
        codes = quantise_weight(array, scales, axis)
        flip = axis == 0 and not weight.tables  # nobody needs it as it lies: MatMulInteger reads (K, N)
        self.rows = axis == 0 and not flip
        self.codes = writer.constant(f"{stem}_quantized", codes.T if flip else codes)
        self.scales = writer.constant(f"{stem}_scale", scales)
        self.column: ir.Value | None = None

    def row_scales(self, writer: Writer) -> ir.Value:
        """The scales as a column, one a row."""
        if self.column is None:
            array = self.scales.const_value
            assert array is not None
            self.column = writer.constant(f"{self.scales.name}_column", array.numpy().reshape(-1, 1))
        return self.column


def _multiply(
    writer: Writer,
    linear: Linear,
    stored: Stored,
    entries: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ...]],
) -> Written:
    node, name, x = linear.node, linear.name, linear.activation
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    if (x, graph) not in entries:
        dynamic = writer.before(
            _first_reader(x, graph), "DynamicQuantizeLinear", x, name=f"{x.name}_DynamicQuantizeLinear",
            outputs=3, dtype=ir.DataType.UINT8, shape=x.shape,
        )  # fmt: skip
        entries[x, graph] = tuple(dynamic.outputs)
    codes, scale, zero = entries[x, graph]
    matrix = stored.codes
    names: tuple[str, ...] = (str(matrix.name),)
    if stored.rows:
        matrix = writer.before(
            node, "Transpose", matrix, name=f"{name}_codes", attributes={"perm": [1, 0]}, dtype=ir.DataType.INT8
        ).outputs[0]
        names += (str(matrix.name),)
    shape = node.outputs[0].shape
    scales = writer.before(node, "Mul", scale, stored.scales, name=f"{name}_scales", dtype=ir.DataType.FLOAT).outputs[0]
    product = writer.before(
        node, "MatMulInteger", codes, matrix, zero, name=f"{name}_MatMulInteger", dtype=ir.DataType.INT32, shape=shape
    ).outputs[0]
    real = writer.to_float(node, product, name=f"{name}_Cast", shape=shape)
    last = writer.before(node, "Mul", real, scales, name=f"{name}_Mul", dtype=ir.DataType.FLOAT, shape=shape)
    if linear.bias is not None:
        last = writer.before(node, "Add", last.outputs[0], linear.bias, name=f"{name}_Add")
    writer.take_over(node, last)
    last.name = name
    return Written(name, node.op_type, names)


def look_up(writer: Writer, table: Table, stored: Stored) -> None:
    node = table.node
    ids = node.inputs[1]
    codes = writer.before(node, "Gather", stored.codes, ids, name=f"{table.name}_codes", dtype=ir.DataType.INT8)
    real = writer.to_float(node, codes.outputs[0], name=f"{table.name}_Cast")
    scales = writer.before(
        node, "Gather", stored.row_scales(writer), ids, name=f"{table.name}_scales", dtype=ir.DataType.FLOAT
    )
    last = writer.before(node, "Mul", real, scales.outputs[0], name=f"{table.name}_Mul")
    writer.take_over(node, last)
    last.name = table.name


def _first_reader(x: ir.Value, graph: ir.Graph) -> ir.Node:
    """The first node of ``graph`` that reads ``x``."""
    readers = {use.node for use in x.uses()}
    return next(node for node in graph if node in readers)


def write_weights(
    writer: Writer, account: Account, bits: int, exclude: Sequence[str], put: Callable[[Writer, Weight, int], None]
) -> None:
    """Weights alone, in place: tables in int8 rows, and linear layers as ``put`` writes those of one weight in ``bits``.

    A weight that both a table and a layer read is left as it is: one copy for both is for the caller to make.
    """
    for weight in weights(writer.model, Account(""), exclude):
        if weight.tables and weight.linears:
            continue
        if weight.tables:
            stored = Stored(writer, weight)
            for table in weight.tables:
                look_up(writer, table, stored)
                account.count("embedding tables in int8")
        else:
            put(writer, weight, bits)
            account.count(f"linear layers in int{bits} blocks", len(weight.linears))
        drop_unread(writer.model, weight.source)
