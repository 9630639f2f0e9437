"""Weights as indices into a table of K values: the smallest file, for the download and nothing else.

Every weight tensor gets its own table (Han et al., Deep Compression, 2016), clustered after each output's weights were
divided by their root mean square, so that one table fits all outputs::

    w = Gather(table, indices) * rms                                    # K > 16: a byte a weight
    w = Reshape(Gather(table of 256 groups, bytes), shape) * rms        # K <= 16: two, four or eight weights a byte

All of it is constant, so the runtime folds it while it loads: speed is that of the float model, and loading takes more
memory, because indices and weights are there at once. Indices are
stored as bytes and cast to int32, which Gather wants; groups are looked up whole because no ONNX operator unpacks bits
at every opset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.numerics import kmeans
from onnxslim.quantization.weight_only.weights import WeightTensor, find_weight_tensors


def write_codebooks(model: ir.Model, k: int, exclude: Sequence[str] = ()) -> StepReport:
    """Every weight that layers read as a codebook of ``k`` values, in place; smaller ones where it saves nothing stay."""
    editor, report = GraphEditor(model.graph), StepReport("weights")
    weight_tensors, report.skipped = find_weight_tensors(model, exclude)
    bytes_before = bytes_after = 0
    for weight_tensor in weight_tensors:
        codebook = fit_codebook(weight_tensor, k)
        if codebook.nbytes >= weight_tensor.nbytes:
            report.skip(str(weight_tensor.value.name), f"a table of {k} values would not make it smaller")
            continue
        bytes_before, bytes_after = bytes_before + weight_tensor.nbytes, bytes_after + codebook.nbytes
        write_codebook(editor, weight_tensor, codebook)
        report.count("weights as codebooks")
    if bytes_after:
        report.changed["bytes of weights"] = f"{bytes_before} to {bytes_after}"
        report.warnings.append(
            "codebooks are expanded when the model is loaded: the file is smaller, speed is that of float, and loading "
            "takes more memory than the float model"
        )
    return report


@dataclass(frozen=True)
class Codebook:
    """A weight as indices into a table.

    Attributes:
        k: How many values a table has at most.
        table: They, float32.
        indices: One for each weight, in the array's shape.
        rms: What the values of each output are multiplied by, float32.
    """

    k: int
    table: np.ndarray
    indices: np.ndarray
    rms: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of indices, scales and the table as it is looked up."""
        return count_codebook_bytes(self.indices.size, self.rms.size, self.k, len(self.table))

    def expand(self, weight_tensor: WeightTensor) -> np.ndarray:
        """What the runtime makes of it while it loads the model, float32, in the array's shape."""
        return np.asarray(self.table[self.indices] * self.rms.reshape(weight_tensor.scale_shape), np.float32)


def count_codebook_bytes(size: int, scales: int, k: int, values: int | None = None) -> int:
    """Bytes that ``size`` weights with so many ``scales`` take with a table of ``values``, or of all ``k``."""
    count = indices_per_byte(k)
    looked_up = (values or k) if count == 1 else 256
    return -(-size // count) + 4 * scales + 4 * looked_up * count


def fit_codebook(weight_tensor: WeightTensor, k: int) -> Codebook:
    """The weight with a table of at most ``k`` values."""
    flat, restore_shape = weight_tensor.split_by_scale()
    rms = np.sqrt(np.square(flat, dtype=np.float64).mean(axis=1))
    rms = np.where(rms > 1e-30, rms, 1.0).astype(np.float32)
    normalized = flat / rms[:, None]
    table = kmeans.find_centers(normalized, k)
    return Codebook(k, table, restore_shape(kmeans.assign_nearest(normalized, table)), rms)


def indices_per_byte(k: int) -> int:
    """How many indices below ``k`` go into a byte."""
    return 8 // max(1, math.ceil(math.log2(k)))


def pack_indices(indices: np.ndarray, k: int) -> np.ndarray:
    """``indices`` in bytes: of their own shape where a byte holds one, else flat, the last byte filled with zeros."""
    count = indices_per_byte(k)
    if count == 1:
        return indices.astype(np.uint8)
    flat = indices.reshape(-1)
    padded = np.zeros(-(-flat.size // count) * count, np.int64)
    padded[: flat.size] = flat
    powers = (8 // count) * np.arange(count)
    packed: np.ndarray = (padded.reshape(-1, count) << powers).sum(axis=1).astype(np.uint8)
    return packed


def build_lookup_table(table: np.ndarray, k: int) -> np.ndarray:
    """What a byte stands for: ``table`` itself, or float32 (256, indices a byte)."""
    count = indices_per_byte(k)
    if count == 1:
        return table
    bits = 8 // count
    indices = (np.arange(256)[:, None] >> (bits * np.arange(count))) & (2**bits - 1)
    lookup_table: np.ndarray = table[np.minimum(indices, len(table) - 1)]
    return lookup_table


def write_codebook(editor: GraphEditor, weight_tensor: WeightTensor, codebook: Codebook) -> None:
    """Let whoever reads the weight read what ``codebook`` stands for."""
    k, packed = codebook.k, pack_indices(codebook.indices, codebook.k)
    stem, first, shape = str(weight_tensor.value.name), editor.graph[0], weight_tensor.array.shape
    codes = editor.add_initializer(f"{stem}_codes", packed)
    indices = editor.add_cast(codes, ir.DataType.INT32, before=first, name=f"{stem}_Cast")
    lookup_table = editor.add_initializer(f"{stem}_codebook", build_lookup_table(codebook.table, k))
    last = editor.add_node("Gather", lookup_table, indices, before=first, name=f"{stem}_Gather", dtype=ir.DataType.FLOAT)
    if indices_per_byte(k) > 1:
        if packed.size * indices_per_byte(k) != weight_tensor.array.size:
            flat = editor.add_initializer(f"{stem}_flat", np.array([-1], np.int64))
            last = editor.add_node("Reshape", last, flat, before=first, name=f"{stem}_Flat", dtype=ir.DataType.FLOAT)
            start = editor.add_initializer(f"{stem}_start", np.array([0], np.int64))
            end = editor.add_initializer(f"{stem}_end", np.array([math.prod(shape)], np.int64))
            last = editor.add_node("Slice", last, start, end, before=first, name=f"{stem}_Slice", dtype=ir.DataType.FLOAT)
        sizes = editor.add_initializer(f"{stem}_shape", np.array(shape, np.int64))
        last = editor.add_node("Reshape", last, sizes, before=first, name=f"{stem}_Reshape", dtype=ir.DataType.FLOAT)
    scales = editor.add_initializer(f"{stem}_rms", codebook.rms.reshape(weight_tensor.scale_shape))
    last = editor.add_node(
        "Mul", last, scales, before=first, name=f"{stem}_Mul", dtype=ir.DataType.FLOAT, shape=ir.Shape(shape)
    )
    weight_tensor.replace(editor, last, first)
