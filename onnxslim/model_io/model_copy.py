"""A model file copied byte for byte, with the data files beside it: what is written where nothing was gained."""

from __future__ import annotations

import contextlib
import filecmp
import os
import stat
from collections.abc import Callable, Iterator

from onnxslim.core.errors import LimitError, UsageError
from onnxslim.model_io import atomic_write, model_file
from onnxslim.model_io.external_data import data_writer

_CHUNK_BYTES = 1 << 22


def copy_model(
    source: str | os.PathLike[str], path: str | os.PathLike[str], check: Callable[[str], object] | None = None
) -> bool:
    """Copy the model at ``source``, and the data it refers to, to ``path``; the model last, each file whole or not at all.

    Args:
        source: A model file that was loaded before, so that its data are known to lie beside it.
        path: The destination; where it is ``source`` itself nothing is done.
        check: Called with the path of the whole copy before it takes its place; where it raises, nothing is written.

    Returns:
        Whether it was copied; False, and nothing is written, where another file already has the name of one of its data
        files: the model says that name, so that it could only be written differently.

    Raises:
        UsageError: A file cannot be read, or the folder not be written to.
        LimitError: The disk is full.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and os.path.samefile(source, target):
        return True
    folder = os.path.dirname(target)
    data_files = {os.path.join(folder, name): real for name, real in model_file.find_data_files(source).items()}
    missing = {name: real for name, real in data_files.items() if not os.path.exists(name)}
    if any(not filecmp.cmp(name, real, shallow=False) for name, real in data_files.items() if name not in missing):
        return False
    try:
        replaced = data_writer.find_data_references(target) if os.path.exists(target) else []
        replacing = data_writer.remove_replaced(folder, replaced) if replaced else contextlib.nullcontext()
        with replacing, _remove_unless_done(list(missing)):
            for name, real in missing.items():
                os.makedirs(os.path.dirname(name), exist_ok=True)
                _copy_file(real, name)
            _copy_file(os.fspath(source), target, check)
    except OSError as error:
        text = f"{os.fspath(path)}: {error.strerror or error}"
        raise (LimitError if error.errno in model_file.FULL_DISK_ERRORS else UsageError)(text) from error
    return True


@contextlib.contextmanager
def _remove_unless_done(paths: list[str]) -> Iterator[None]:
    """Remove the files at ``paths``, as far as they are there, where the block raises: no model is there to read them."""
    try:
        yield
    except BaseException:
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise


def _copy_file(source: str, target: str, check: Callable[[str], object] | None = None) -> None:
    mode = stat.S_IMODE(os.stat(target).st_mode) & 0o777 if os.path.exists(target) else None
    with open(source, "rb") as file, atomic_write.open_draft(os.path.dirname(target), mode) as draft:
        while chunk := file.read(_CHUNK_BYTES):
            draft.write(chunk)
        if check is not None:
            check(draft.path)
        draft.publish(target)
