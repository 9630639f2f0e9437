"""Model files: the only code that opens or writes one."""

from __future__ import annotations

import os
from typing import Union

import onnx
import onnx_ir as ir

from onnxslim.errors import InvalidModelError, UsageError

#: What every public function takes as a model.
ModelLike = Union[str, "os.PathLike[str]", bytes, onnx.ModelProto, ir.Model]


def load(source: ModelLike) -> ir.Model:
    """Return ``source`` as a private :class:`onnx_ir.Model`; a model passed in is copied, its tensors shared.

    Raises:
        UsageError: The file does not exist.
        InvalidModelError: Not a valid ONNX model, or it reads data outside its own folder.
    """
    if isinstance(source, ir.Model):
        return clone(source)
    if isinstance(source, onnx.ModelProto):
        return ir.from_proto(source)
    if isinstance(source, bytes):
        return ir.from_proto(onnx.load_model_from_string(source))
    path = os.path.abspath(os.fspath(source))
    if not os.path.exists(path):
        raise UsageError(f"{source}: no such file")
    try:
        return ir.load(path)
    except Exception as error:
        raise InvalidModelError(f"{source}: not an ONNX model ({error})") from error


def clone(model: ir.Model) -> ir.Model:
    """A copy whose graph can be edited freely; the tensors themselves are shared."""
    return model.clone()


def to_bytes(model: ir.Model) -> bytes:
    """``model`` as one serialised ModelProto with its tensors inside."""
    return ir.to_proto(model).SerializeToString(deterministic=True)


def save(model: ir.Model, path: str | os.PathLike[str], *, external_data: bool | None = None) -> None:
    """Write ``model`` to ``path`` atomically: after any failure the old file is whole.

    Args:
        model: What to write; it is not changed.
        path: The destination; it may be the file the model was loaded from.
        external_data: True writes the tensors beside the model, False inside; None decides by size (1.8 GB).
    """
    data = to_bytes(model)
    target = os.path.abspath(os.fspath(path))
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
