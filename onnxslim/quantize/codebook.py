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

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.quantize import kmeans
from onnxslim.quantize.storable import Storable, storables
from onnxslim.quantize.write import Writer, drop_unread


def write(model: ir.Model, account: Account, k: int, exclude: Sequence[str] = ()) -> None:
    """Every weight that layers read as a codebook of ``k`` values, in place; smaller ones where it saves nothing stay."""
    writer = Writer(model)
    before = after = 0
    for storable in storables(model, account, exclude):
        table, indices, rms = encode(storable, k)
        packed = pack(indices, k)
        size = packed.nbytes + rms.nbytes + len(groups(table, k)) * 4 * packing(k)
        if size >= storable.array.nbytes:
            account.decline(str(storable.value.name), f"a table of {k} values would not make it smaller")
            continue
        before, after = before + storable.array.nbytes, after + size
        _expand(writer, storable, table, packed, rms, k)
        account.count("weights as codebooks")
    if after:
        account.changed["bytes of weights"] = f"{before} to {after}"
        account.warnings.append(
            "codebooks are expanded when the model is loaded: the file is smaller, speed is that of float, and loading "
            "takes more memory than the float model"
        )


def encode(storable: Storable, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table of at most ``k`` values float32, an index for each weight (the array's shape), and the scales float32."""
    flat, back = storable.slices()
    rms = np.sqrt(np.square(flat, dtype=np.float64).mean(axis=1))
    rms = np.where(rms > 1e-30, rms, 1.0).astype(np.float32)
    divided = flat / rms[:, None]
    table = kmeans.centres(divided, k)
    return table, back(kmeans.nearest(divided, table)), rms


def packing(k: int) -> int:
    """How many indices below ``k`` go into a byte."""
    return 8 // max(1, math.ceil(math.log2(k)))


def pack(indices: np.ndarray, k: int) -> np.ndarray:
    """``indices`` in bytes: of their own shape where a byte holds one, else flat, the last byte filled with zeros."""
    count = packing(k)
    if count == 1:
        return indices.astype(np.uint8)
    flat = indices.reshape(-1)
    padded = np.zeros(-(-flat.size // count) * count, np.int64)
    padded[: flat.size] = flat
    powers = (8 // count) * np.arange(count)
    packed: np.ndarray = (padded.reshape(-1, count) << powers).sum(axis=1).astype(np.uint8)
    return packed


def groups(table: np.ndarray, k: int) -> np.ndarray:
    """What a byte stands for: ``table`` itself, or float32 (256, indices a byte)."""
    count = packing(k)
    if count == 1:
        return table
    bits = 8 // count
    indices = (np.arange(256)[:, None] >> (bits * np.arange(count))) & (2**bits - 1)
    found: np.ndarray = table[np.minimum(indices, len(table) - 1)]
    return found


def _expand(
    writer: Writer, storable: Storable, table: np.ndarray, packed: np.ndarray, rms: np.ndarray, k: int
) -> None:
    stem, first, shape = str(storable.value.name), writer.model.graph[0], storable.array.shape
    codes = writer.constant(f"{stem}_codes", packed)
    to = {"to": ir.DataType.INT32}
    indices = writer.before(
        first, "Cast", codes, name=f"{stem}_Cast", attributes=to, dtype=ir.DataType.INT32, shape=ir.Shape(packed.shape)
    )
    values = writer.constant(f"{stem}_codebook", groups(table, k))
    last = writer.before(first, "Gather", values, indices.outputs[0], name=f"{stem}_Gather", dtype=ir.DataType.FLOAT)
    if packing(k) > 1:
        if packed.size * packing(k) != storable.array.size:
            flat = writer.constant(f"{stem}_flat", np.array([-1], np.int64))
            last = writer.before(first, "Reshape", last.outputs[0], flat, name=f"{stem}_Flat", dtype=ir.DataType.FLOAT)
            start = writer.constant(f"{stem}_start", np.array([0], np.int64))
            end = writer.constant(f"{stem}_end", np.array([math.prod(shape)], np.int64))
            last = writer.before(first, "Slice", last.outputs[0], start, end, name=f"{stem}_Slice", dtype=ir.DataType.FLOAT)
        sizes = writer.constant(f"{stem}_shape", np.array(shape, np.int64))
        last = writer.before(first, "Reshape", last.outputs[0], sizes, name=f"{stem}_Reshape", dtype=ir.DataType.FLOAT)
    scales = writer.constant(f"{stem}_rms", rms.reshape(storable.scale_shape))
    last = writer.before(
        first, "Mul", last.outputs[0], scales, name=f"{stem}_Mul", dtype=ir.DataType.FLOAT, shape=ir.Shape(shape)
    )
    storable.value.replace_all_uses_with(last.outputs[0])
    drop_unread(writer.model, storable.value)
