"""Linear layers that read their weights in blocks of codes: onnxruntime's MatMulNBits.

The codes are read at every product and activations are rounded to int8 block by block (``accuracy_level`` 4; without, the
8-bit kernel is ten times slower than float). So it pays where weights weigh more than rows: large ones, or few rows, as in
decoding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.dynamic import rewrite
from onnxslim.quantization.linear_layers import MatMulLayer, WeightMatrix, find_weight_matrices
from onnxslim.quantization.numerics import blockwise
from onnxslim.quantization.weight_only.expanded import write_expanded_weights

#: How MatMulNBits multiplies on the CPU: activations in int8 blocks.
ACCURACY_LEVEL = 4
#: Codes that the last block may be filled up with, as a share of all.
_MAX_PADDING_SHARE = 0.12


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
    return next((size for size in sizes if -inputs % size <= _MAX_PADDING_SHARE * inputs), None)


def _write_blockwise_weight(editor: GraphEditor, weight: WeightMatrix, bits: int) -> None:
    stem, matrix = str(weight.weight_value.name), weight.array if weight.scale_axis == 0 else weight.array.T
    block_size = _choose_block_size(matrix.shape[1], bits) or blockwise.BLOCK_SIZES[bits]
    quantized = blockwise.quantize_blockwise(matrix, bits, block_size)
    codes = editor.add_initializer(f"{stem}_quantized", quantized.codes)
    scales = editor.add_initializer(f"{stem}_scale", quantized.scales)
    for linear in weight.linear_layers:
        # a weight that is read both ways lies as its first reader wants it
        if linear.transposed == (weight.scale_axis == 0):
            replace_with_matmul_nbits(editor, linear, quantized, codes, scales, linear.bias)


def replace_with_matmul_nbits(
    editor: GraphEditor,
    linear: MatMulLayer,
    quantized: blockwise.BlockwiseWeight,
    codes: ir.Value,
    scales: ir.Value,
    bias: ir.Value | None,
) -> None:
    """MatMulNBits of ``codes`` and an Add of ``bias`` instead of ``linear``."""
    node, (inputs, outputs) = linear.node, linear.matrix_shape
    editor.graph.opset_imports.setdefault("com.microsoft", 1)
    layout = {"K": inputs, "N": outputs, "bits": quantized.bits, "block_size": quantized.block_size}
    last = editor.add_node(
        "MatMulNBits", linear.activation, codes, scales, before=node,
        name=f"{linear.name}_MatMulNBits", domain="com.microsoft", dtype=ir.DataType.FLOAT,
        attributes={**layout, "accuracy_level": ACCURACY_LEVEL},
    )  # fmt: skip
    if bias is not None:
        last = editor.add_node("Add", last, bias, before=node, name=f"{linear.name}_Add")
    editor.replace_node(node, last)
