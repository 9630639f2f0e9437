"""The weights that may be stored in one format or another, what each format takes, and what it makes of them.

Linear layers read blocks of codes (MatMulNBits), and so do embedding tables where the runtime looks rows of blocks up
(GatherBlockQuantized); a table that is also a layer's weight is stored once for both. Whatever else layers read is expanded
when the model is loaded: from int8 or from a codebook, which makes the file smaller and nothing faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.linear_layers import WeightMatrix, find_weight_matrices
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.numerics.blockwise import (
    BlockwiseWeight,
    Feedback,
    quantize_nearest,
    quantize_with_feedback,
)
from onnxslim.quantization.weight_only.blocks import MAX_PADDING_SHARE, write_block_readers
from onnxslim.quantization.weight_only.codebook import Codebook, count_codebook_bytes, fit_codebook, write_codebook
from onnxslim.quantization.weight_only.expanded import (
    ExpandedWeight,
    find_expanded_weights,
    quantize_expanded,
    write_expanded_weight,
)
from onnxslim.quantization.weight_only.weights import WeightTensor, exclude_layers

#: The formats of weights that are expanded when the model is loaded; the first is int8 with whatever scales it takes.
EXPANDED_FORMATS = ("int8", "codebook:16", "codebook:4")
#: A weight in one of its formats.
Rounded = BlockwiseWeight | Codebook | ExpandedWeight


@dataclass(frozen=True)
class BlockFormats:
    """What the runtime runs: for products, and for rows that are looked up."""

    products: Sequence[BlockFormat]
    rows: Sequence[BlockFormat]


@dataclass(frozen=True, eq=False)
class MixedWeight:
    """One weight that has a choice.

    Attributes:
        name: Of the initializer.
        stored: The weight with its readers: linear layers and tables, or whatever else.
        formats: What it may be stored in.
    """

    name: str
    stored: WeightMatrix | WeightTensor
    formats: tuple[str, ...]

    @property
    def value(self) -> ir.Value:
        """The initializer."""
        return self.stored.weight_value if isinstance(self.stored, WeightMatrix) else self.stored.value

    @property
    def matrix(self) -> np.ndarray:
        """The weights float32, (N, K) where they are multiplied in blocks or looked up by rows, else as they are stored."""
        stored = self.stored
        if isinstance(stored, WeightTensor):
            return stored.array
        return stored.array if stored.scale_axis == 0 else stored.array.T

    def count_bytes(self, text: str) -> int:
        """Bytes of the weight in a format."""
        if isinstance(self.stored, WeightMatrix):
            outputs, inputs = self.matrix.shape
            return _parse(text).count_bytes(outputs, inputs)
        size, scales = self.stored.array.size, int(np.prod(self.stored.scale_shape))
        return size + 2 * scales if text == "int8" else count_codebook_bytes(size, scales, int(text.partition(":")[2]))

    def round(self, text: str, feedback: Feedback | None = None, rows: slice = slice(None)) -> Rounded:
        """The weight in a format.

        Args:
            text: One of :attr:`formats`.
            feedback: Of a layer's inputs; without, and where nothing is multiplied, each weight is rounded to nearest.
            rows: Which rows of a matrix.
        """
        if isinstance(self.stored, WeightMatrix):
            if feedback is None:
                return quantize_nearest(self.matrix[rows], _parse(text))
            return quantize_with_feedback(self.matrix[rows], feedback, _parse(text))
        if text == "int8":
            return quantize_expanded(self.stored)
        return fit_codebook(self.stored, int(text.partition(":")[2]))

    def expand(self, rounded: Rounded) -> np.ndarray:
        """What ``rounded`` stands for, in the shape of :attr:`matrix`, or of the rows that it has."""
        if isinstance(rounded, BlockwiseWeight):
            return rounded.dequantize()
        assert isinstance(self.stored, WeightTensor)
        if isinstance(rounded, Codebook):
            return rounded.expand(self.stored)
        return rounded.expand().reshape(self.stored.array.shape)

    def write(self, editor: GraphEditor, rounded: Rounded) -> None:
        """Let all its readers read ``rounded``."""
        if isinstance(self.stored, WeightMatrix):
            assert isinstance(rounded, BlockwiseWeight)
            write_block_readers(editor, self.stored, rounded)
        elif isinstance(rounded, Codebook):
            write_codebook(editor, self.stored, rounded)
        else:
            assert isinstance(rounded, ExpandedWeight)
            write_expanded_weight(editor, self.stored, rounded)


def find_mixed_weights(
    model: ir.Model,
    formats: BlockFormats,
    exclude: Sequence[str] = (),
    is_expanded: Callable[[str], bool] = lambda name: False,
) -> list[MixedWeight]:
    """The weights of the main graph of ``model`` that have a choice.

    Args:
        model: Nodes named.
        formats: What the runtime runs.
        exclude: Regular expressions; a weight stays float when a reader's whole name matches.
        is_expanded: Of the name of a weight whether it is expanded when the model is loaded although it could be in blocks.
    """
    found: list[MixedWeight] = []
    for matrix in find_weight_matrices(model, exclude)[0]:
        texts = _list_block_formats(matrix, formats)
        name = str(matrix.weight_value.name)
        if texts and _is_outside(model, matrix.weight_value) and not is_expanded(name):
            found.append(MixedWeight(name, matrix, texts))
    taken = {reader for weight in found if isinstance(weight.stored, WeightMatrix) for reader in weight.stored.reader_names}
    for tensor, _ in find_expanded_weights(model, exclude_layers(exclude, taken))[0]:
        if not _is_outside(model, tensor.value):
            continue
        weight = MixedWeight(str(tensor.value.name), tensor, EXPANDED_FORMATS)
        sizes = {text: weight.count_bytes(text) for text in EXPANDED_FORMATS}
        found.append(replace(weight, formats=tuple(t for t in sizes if t == "int8" or sizes[t] < sizes["int8"])))
    return found


def rebind_weights(copy: ir.Model, weights: Sequence[MixedWeight]) -> list[MixedWeight]:
    """``weights`` in a copy of the model that they are of, whose nodes and initializers have the same names."""
    matrices = {str(matrix.weight_value.name): matrix for matrix in find_weight_matrices(copy)[0]}
    rebound = []
    for weight in weights:
        if isinstance(weight.stored, WeightMatrix):
            rebound.append(replace(weight, stored=matrices[weight.name]))
        else:
            value = copy.graph.initializers[weight.name]
            rebound.append(replace(weight, stored=replace(weight.stored, value=value)))
    return rebound


def _list_block_formats(matrix: WeightMatrix, formats: BlockFormats) -> tuple[str, ...]:
    inputs = matrix.array.shape[1] if matrix.scale_axis == 0 else matrix.array.shape[0]
    if matrix.is_read_both_ways:
        return ()
    fitting = [one for one in formats.products if -inputs % one.block_size <= MAX_PADDING_SHARE * inputs]
    if matrix.tables:
        fitting = [one for one in formats.rows if inputs % one.block_size == 0 and _is_read_right(one, inputs)]
    if matrix.tables and matrix.linear_layers:
        fitting = [one for one in fitting if one in formats.products]
    return tuple(map(str, fitting))


def _is_read_right(block_format: BlockFormat, inputs: int) -> bool:
    """Whether every runtime that takes a table in these blocks reads it right: until 1.27 those of 4 bits went wrong, in
    silence, where the zero points of a row end within a byte.
    """
    return not (block_format.bits == 4 and block_format.has_zero_point and inputs // block_format.block_size % 2)


def _is_outside(model: ir.Model, value: ir.Value) -> bool:
    return model.graph.initializers.get(str(value.name)) is value


def _parse(text: str) -> BlockFormat:
    block_format = BlockFormat.parse(text)
    assert block_format is not None
    return block_format
