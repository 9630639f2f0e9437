"""Linear layers that read their weights in blocks of codes: onnxruntime's MatMulNBits.

The codes are read at every product and activations are rounded to int8 block by block (``accuracy_level`` 4; without, the
8-bit kernel is ten times slower than float). So it pays where weights weigh more than rows: large ones, or few rows, as in
decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.dynamic import rewrite
from onnxslim.quantization.linear_layers import EmbeddingTable, MatMulLayer, WeightMatrix, find_weight_matrices
from onnxslim.quantization.numerics import blockwise
from onnxslim.quantization.weight_only.expanded import write_expanded_weights

#: How MatMulNBits multiplies on the CPU: activations in int8 blocks.
ACCURACY_LEVEL = 4
#: Codes that the last block may be filled up with, as a share of all.
MAX_PADDING_SHARE = 0.12


def write_blockwise(
    model: ir.Model, bits: int, exclude: Sequence[str] = (), block_layers: Collection[str] | None = None
) -> StepReport:
    """Linear layers in blocks of ``bits``, large tables in rows and everything else in int8, expanded at load; in place.

    Args:
        model: Nodes named.
        bits: 4 or 8.
        exclude: Regular expressions; a weight stays float when a reader's whole name matches.
        block_layers: The linear layers that read blocks, by name; None: all that can.
    """

    def reads_blocks(weight: WeightMatrix) -> bool:
        return block_layers is None or weight.linear_layers[0].name in block_layers

    report = rewrite.write_weights(
        model,
        bits,
        exclude,
        _write_blockwise_weight,
        reads_blocks=reads_blocks,
        min_table_elements=rewrite.MIN_TABLE_ELEMENTS,
    )
    report.add(write_expanded_weights(model, exclude))
    return report


def find_block_weights(model: ir.Model, exclude: Sequence[str] = ()) -> list[WeightMatrix]:
    """The weights of ``model`` that 8-bit blocks fit: those of linear layers alone, which little would be filled up of."""
    return [
        weight
        for weight in find_weight_matrices(model, exclude)[0]
        if weight.linear_layers and not weight.tables and _choose_block_size(weight.linear_layers[0].matrix_shape[0], 8)
    ]


def _choose_block_size(inputs: int, bits: int) -> int | None:
    """Weights a block for rows of ``inputs`` weights; None where every size would fill up too much."""
    if bits != 8:
        return blockwise.BLOCK_SIZES[bits]
    sizes = (blockwise.BLOCK_SIZES[8], blockwise.BLOCK_SIZES[8] // 2, blockwise.BLOCK_SIZES[8] // 4)
    return next((size for size in sizes if -inputs % size <= MAX_PADDING_SHARE * inputs), None)


def _write_blockwise_weight(editor: GraphEditor, weight: WeightMatrix, bits: int) -> None:
    matrix = weight.array if weight.scale_axis == 0 else weight.array.T
    block_size = _choose_block_size(matrix.shape[1], bits) or blockwise.BLOCK_SIZES[bits]
    write_block_readers(editor, weight, blockwise.quantize_blockwise(matrix, bits, block_size))


@dataclass(frozen=True)
class StoredBlocks:
    """A weight in blocks as it stands in a graph.

    Attributes:
        quantized: What is stored.
        codes: uint8 (N, blocks, block · bits / 8).
        scales: float32 (N, blocks).
        zero_points: uint8 (N, ⌈blocks · bits / 8⌉), or None.
    """

    quantized: blockwise.BlockwiseWeight
    codes: ir.Value
    scales: ir.Value
    zero_points: ir.Value | None = None


def store_blocks(editor: GraphEditor, stem: str, quantized: blockwise.BlockwiseWeight) -> StoredBlocks:
    """Initializers of ``quantized`` called after ``stem``.

    Scales are float32: half floats would have to be widened, and MatMulNBits computes with scales that are no constants as
    if there were none, in a session whose optimisation, which would make them constants, is off.
    """
    codes = editor.add_initializer(f"{stem}_quantized", quantized.codes)
    scales = editor.add_initializer(f"{stem}_scale", quantized.scales)
    zero_points = quantized.zero_points
    stored_zeros = None if zero_points is None else editor.add_initializer(f"{stem}_zero_point", zero_points)
    return StoredBlocks(quantized, codes, scales, stored_zeros)


def write_block_readers(editor: GraphEditor, weight: WeightMatrix, quantized: blockwise.BlockwiseWeight) -> None:
    """Whatever reads ``weight`` reads the codes of ``quantized``, which are stored once for layers and tables."""
    blocks = store_blocks(editor, str(weight.weight_value.name), quantized)
    for linear in weight.linear_layers:
        # a weight that is read both ways lies as its first reader wants it
        if linear.transposed == (weight.scale_axis == 0):
            replace_with_matmul_nbits(editor, linear, blocks, linear.bias)
    if weight.tables:
        # the runtime computes the rows once, while it loads the model
        shape = editor.add_initializer(f"{weight.weight_value.name}_rows", np.array([len(quantized.codes), -1], np.int64))
        rows = editor.add_node(
            "Reshape", blocks.codes, shape, before=editor.graph[0], name=f"{weight.weight_value.name}_rows_Reshape",
            dtype=ir.DataType.UINT8,
        )  # fmt: skip
        for table in weight.tables:
            _replace_with_gather_blocks(editor, table, blocks, rows)


def replace_with_matmul_nbits(editor: GraphEditor, linear: MatMulLayer, blocks: StoredBlocks, bias: ir.Value | None) -> None:
    """MatMulNBits of ``blocks`` and an Add of ``bias`` instead of ``linear``."""
    node, (inputs, outputs) = linear.node, linear.matrix_shape
    editor.graph.opset_imports.setdefault("com.microsoft", 1)
    layout = {"K": inputs, "N": outputs, "bits": blocks.quantized.bits, "block_size": blocks.quantized.block_size}
    zero_points = [] if blocks.zero_points is None else [blocks.zero_points]
    last = editor.add_node(
        "MatMulNBits", linear.activation, blocks.codes, blocks.scales, *zero_points, before=node,
        name=f"{linear.name}_MatMulNBits", domain="com.microsoft", dtype=ir.DataType.FLOAT,
        attributes={**layout, "accuracy_level": ACCURACY_LEVEL},
    )  # fmt: skip
    if bias is not None:
        last = editor.add_node("Add", last, bias, before=node, name=f"{linear.name}_Add")
    editor.replace_node(node, last)


def _replace_with_gather_blocks(editor: GraphEditor, table: EmbeddingTable, blocks: StoredBlocks, rows: ir.Value) -> None:
    """GatherBlockQuantized of the rows of codes, uint8 (N, K · bits / 8), instead of ``table``."""
    editor.graph.opset_imports.setdefault("com.microsoft", 1)
    layout = {"bits": blocks.quantized.bits, "block_size": blocks.quantized.block_size}
    zero_points = [] if blocks.zero_points is None else [blocks.zero_points]
    looked_up = editor.add_node(
        "GatherBlockQuantized", rows, table.node.inputs[1], blocks.scales, *zero_points, before=table.node,
        name=f"{table.name}_GatherBlockQuantized", domain="com.microsoft", dtype=ir.DataType.FLOAT,
        attributes={**layout, "gather_axis": 0, "quantize_axis": 1},
    )  # fmt: skip
    editor.replace_node(table.node, looked_up)
