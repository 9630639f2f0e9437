"""The suffixes by which loaders tell the precisions of one model apart: ``model_int8.onnx`` beside ``model.onnx``."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from onnxslim.core.errors import UsageError

#: Those of transformers.js (its ``dtype``), of optimum's optimizer and quantizer, and of sentence-transformers' exports.
_VARIANT = re.compile(
    r"(fp16|fp32|int8|uint8|quantized|q8|q4|q4f16|q2|q2f16|q1|q1f16|bnb4|optimized|O[1-4]|qu?int8_[a-z0-9_]+)", re.IGNORECASE
)
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def find_base(path: str, models: Iterable[str]) -> str | None:
    """The one of ``models`` that the file at ``path`` is another precision of, by their names; None where it is none."""
    stem, extension = posixpath.splitext(path)
    bases = [
        base for base in models if base != path and posixpath.splitext(base)[1] == extension and _is_variant(stem, base)
    ]
    return max(bases, key=len, default=None)


def add_suffix(path: str, suffix: str) -> str:
    """``onnx/model.onnx`` → ``onnx/model_int8.onnx``.

    Raises:
        UsageError: ``suffix`` is nothing that names of files end in.
    """
    if not _SUFFIX.fullmatch(suffix):
        raise UsageError(f"--suffix {suffix}: expected letters and digits, for example int8")
    stem, extension = posixpath.splitext(path)
    return f"{stem}_{suffix}{extension}"


def _is_variant(stem: str, base: str) -> bool:
    start = posixpath.splitext(base)[0] + "_"
    return stem.startswith(start) and _VARIANT.fullmatch(stem[len(start) :]) is not None
