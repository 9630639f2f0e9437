"""Weights beside the model: where they may lie, and a tensor that reads them from a mapped file.

A model names its data files, so a hostile one names ``/etc/passwd``. A file is taken only if it lies, every link
followed, in the model's own folder or below; Hugging Face's cache, whose links all lead to ``blobs/`` of the same
repository, is the one exception.
"""

from __future__ import annotations

import mmap
import ntpath
import os

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_io import tensors


def locate(location: str, folder: str, label: str, *, blobs: str | None = None) -> str:
    """The real path of the data file that a model in ``folder`` calls ``location``. Nothing is opened.

    Args:
        location: As the model spells it, relative to ``folder``.
        folder: The model's folder, absolute.
        label: The tensor, for the error.
        blobs: A store outside ``folder`` whose files are the model's own too (see :func:`find_blob_store`).

    Raises:
        InvalidModelError: An absolute path, or one that leaves the folder by ``..`` or by a link.
    """
    shown = f"'{location[:80]}'"
    if ntpath.splitdrive(location)[0] or location.startswith(("/", "\\")) or "\0" in location:
        raise InvalidModelError(f"{label}: its data are in {shown}; a path relative to the model is expected")
    if ".." in location.replace("\\", "/").split("/"):
        raise InvalidModelError(f"{label}: its data are in {shown}, outside the model's folder")
    path = os.path.realpath(os.path.join(folder, location))
    inside = os.path.commonpath((path, os.path.realpath(folder))) == os.path.realpath(folder)
    if not inside and os.path.dirname(path) != blobs:
        raise InvalidModelError(f"{label}: its data file {shown} is a link that leaves the model's folder")
    return path


def find_blob_store(model_path: str) -> str | None:
    """The ``blobs`` folder when ``model_path`` is a link of Hugging Face's cache into it, else None.

    The layout is ``ROOT/snapshots/REVISION/…/model.onnx -> ROOT/blobs/HASH``. The model itself must be such a link, so
    that nothing but a model already in the store can reach its neighbours there.
    """
    real = os.path.dirname(os.path.realpath(model_path))
    root, name = os.path.split(real)
    snapshots = os.path.join(root, "snapshots")
    folder = os.path.realpath(os.path.dirname(model_path))
    return real if name == "blobs" and folder.startswith(snapshots + os.sep) else None


def map_tensor(reference: ir.ExternalTensor, mapped: mmap.mmap | None, label: str) -> ir.TensorProtocol:
    """The tensor that ``reference`` describes, its elements a view of ``mapped``; no byte is read.

    Args:
        reference: Type, shape, offset and length.
        mapped: The whole data file; None stands for an empty one.
        label: The tensor, for the error.

    Raises:
        InvalidModelError: The file ends before the tensor does.
    """
    if reference.dtype == ir.DataType.STRING:
        raise InvalidModelError(f"{label}: strings cannot be in a file")
    offset, length, file_size = reference.offset or 0, reference.nbytes, 0 if mapped is None else len(mapped)
    if offset < 0 or offset + length > file_size:
        file = os.path.basename(reference.location)
        raise InvalidModelError(f"{label}: bytes {offset:,} to {offset + length:,} of '{file}', which has {file_size:,}")
    data = np.empty(0, np.uint8) if mapped is None else np.frombuffer(mapped, np.uint8, length, offset)
    return tensors.wrap_data(data, reference)


def release(tensor: ir.TensorProtocol) -> None:
    """Give the memory behind a mapped tensor back to the system; the next read fetches it again. Others are left alone.

    Reading every weight of a 2.4 GB model once would otherwise count 2.4 GB against the process.
    """
    array = base = getattr(tensor, "raw", None)
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(array, np.ndarray) and isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        start = _address(array) - _address(np.frombuffer(base, np.uint8))
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        base.madvise(mmap.MADV_DONTNEED, first, start + array.nbytes - first)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
