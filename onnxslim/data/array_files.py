"""Arrays in ``.npy`` and ``.npz`` files, opened without reading or allocating what their headers promise.

The format is numpy's (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). A header is believed
only as far as the file can back it: the bytes it promises must be there, and a compressed member cannot grow by more
than deflate can (1032:1). Pickled arrays are refused by their header; nothing of them is read.
"""

from __future__ import annotations

import math
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from onnxslim.core.errors import InvalidDataError, LimitError, UsageError
from onnxslim.data.columns import Array, ByteStream, FileColumn, wrap_read_errors

#: One sample may not take more than this; a batch of it would not fit in a tensor of the runtime.
MAX_SAMPLE_BYTES = 1 << 30
#: Samples of one source. Far above what calibration or evaluation can use, far below what indices of would hurt.
MAX_SAMPLES = 10_000_000

_MAX_DEFLATE_RATIO = 1032
#: The longest header that numpy parses.
_MAX_HEADER_BYTES = 10_000
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def check_regular_file(path: str | os.PathLike[str]) -> Path:
    """``path``, if it is a file that ends: a pipe or a device would hang or never end.

    Raises:
        UsageError: There is no such file.
        InvalidDataError: It is not a regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise InvalidDataError(f"{os.fspath(path)} is not a regular file")
    return Path(path)


def open_npy(path: str | os.PathLike[str]) -> FileColumn | Array:
    """The array of an ``.npy`` file as a column, or as itself when it is 0-d.

    Raises:
        UsageError: No such file.
        InvalidDataError: Not an ``.npy`` file, pickled, or shorter than its header says.
        LimitError: More samples, or larger ones, than any tool could use.
    """
    file = check_regular_file(path)
    return _make_column(str(file), partial(open, file, "rb"), file.stat().st_size, sequential=False)


def open_npz(path: str | os.PathLike[str]) -> dict[str, FileColumn | Array]:
    """The arrays of an ``.npz`` file by key, each a column, or itself when it is 0-d.

    Raises:
        UsageError: No such file.
        InvalidDataError: Not an ``.npz`` file, or a member that is broken, pickled, encrypted or no array.
        LimitError: More samples, or larger ones, than any tool could use.
    """
    file = check_regular_file(path)
    with wrap_read_errors(str(file)), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise InvalidDataError(f"{file} holds two arrays of one name")
    columns: dict[str, FileColumn | Array] = {}
    for member in members:
        key = member.filename.removesuffix(".npy")
        where = f"'{key}' of {file}"
        if key == member.filename:
            raise InvalidDataError(f"{where} is not an array", hint="write the file with numpy.savez")
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidDataError(f"{where} is encrypted or compressed in a way numpy does not write")
        if member.file_size > (member.compress_size + 1) * _MAX_DEFLATE_RATIO:
            raise InvalidDataError(f"{where} promises {member.file_size} bytes in {member.compress_size}")
        columns[key] = _make_column(where, partial(_open_member, file, member.filename), member.file_size, sequential=True)
    return columns


@contextmanager
def _open_member(path: Path, name: str) -> Iterator[ByteStream]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
        yield stream


def _make_column(name: str, open_stream: partial[Any], size: int, *, sequential: bool) -> FileColumn | Array:
    """A column over the array that begins at the start of a stream of ``size`` bytes."""
    context: AbstractContextManager[ByteStream] = open_stream()
    with wrap_read_errors(name), context as stream:
        shape, fortran, dtype = _read_header(stream, name)
        offset = stream.tell()
        expected_bytes = math.prod(shape) * dtype.itemsize
        if expected_bytes > size - offset:
            raise InvalidDataError(
                f"{name}: the header promises {expected_bytes} bytes, {size - offset} are there",
                hint="the file is truncated",
            )
        if not shape:
            return np.frombuffer(stream.read(expected_bytes), dtype)[0:1].reshape(())
    if shape[0] > MAX_SAMPLES:
        raise LimitError(f"{name}: {shape[0]} samples; at most {MAX_SAMPLES} can be used")
    if expected_bytes > MAX_SAMPLE_BYTES * shape[0]:
        raise LimitError(f"{name}: {expected_bytes // shape[0]} bytes a sample; at most {MAX_SAMPLE_BYTES} can be used")
    return FileColumn(name, open_stream, offset, dtype, shape, fortran and len(shape) > 1, sequential)


def _read_header(stream: ByteStream, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        start = stream.tell()
        if version == (2, 0) and int.from_bytes(stream.read(4), "little") > _MAX_HEADER_BYTES:
            raise ValueError("a header that long")  # numpy would ask the stream for all of it before it looks
        stream.seek(start)
        shape, fortran, dtype = _HEADER_READERS[version](stream)
    except Exception as error:  # numpy hands the header to Python's own tokenizer, which raises whatever it likes
        raise InvalidDataError(f"{name} is not a .npy array") from error
    if dtype.hasobject:
        hint = "store arrays of one numeric dtype"
        raise InvalidDataError(f"{name} is pickled (Python objects), which is never read", hint=hint)
    if dtype.names is not None or dtype.subdtype is not None or min(shape, default=1) < 0:
        raise InvalidDataError(f"{name} is a structured array (dtype {dtype}), expected plain numbers")
    return shape, fortran, dtype
