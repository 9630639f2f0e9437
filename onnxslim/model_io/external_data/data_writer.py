"""Our data files: named by their content, found again by their name.

A new one never takes the place of the one that the old model still needs, so the old model stays whole until the new
one is renamed over it; then the old data are nobody's, unless another model in the folder says otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import onnx_ir as ir

from onnxslim.model_io import tensors
from onnxslim.model_io.atomic_write import Draft, claim_abandoned_drafts
from onnxslim.model_io.external_data import data_reader

logger = logging.getLogger(__name__)

#: Where a tensor is in a data file: offset and length in bytes, by the ``id`` of the tensor.
TensorLocations = dict[int, tuple[int, int]]

#: Smaller tensors stay inside the model, as the onnx package has it; larger ones begin at a cache line.
_MIN_EXTERNAL_BYTES, _ALIGNMENT = 1024, 64

_DATA_FILE_NAME = re.compile(rb"onnxslim-[0-9a-f]{32}\.data")

#: How every model begins that a known writer made: with the field of the IR version.
_MODEL_START = b"\x08"


def write_tensors(models: Sequence[ir.Model], data: Draft) -> tuple[TensorLocations, str]:
    """Write the larger initializers of ``models`` one after the other, what several of them have in common once.

    Returns:
        Where each is, and a name of the file that is made of its content.
    """
    locations: TensorLocations = {}
    digest, end = hashlib.sha256(), 0
    written: dict[bytes, tuple[int, int]] = {}
    with ThreadPoolExecutor(1) as executor:
        for tensor in (value.const_value for model in models for value in tensors.iter_initializers(model)):
            if (
                tensor is None
                or id(tensor) in locations
                or isinstance(tensor, ir.StringTensor)
                or tensor.nbytes < _MIN_EXTERNAL_BYTES
            ):
                continue
            padding, content = bytes(-end % _ALIGNMENT), tensors.read_bytes(tensor)
            key = hashlib.sha256(content).digest() if len(models) > 1 else b""
            if key in written:
                locations[id(tensor)] = written[key]
                continue
            for part in (padding, content):
                hashing = executor.submit(digest.update, part)  # which takes longer than writing it
                data.write(part)
                hashing.result()
            locations[id(tensor)] = (end + len(padding), len(content))
            if key:
                written[key] = locations[id(tensor)]
            end += len(padding) + len(content)
            data_reader.release(tensor)
    return locations, f"onnxslim-{digest.hexdigest()[:32]}.data"


@contextlib.contextmanager
def remove_replaced(folder: str, names: list[str]) -> Iterator[None]:
    """Remove at the end of the block those of ``names`` that no model in ``folder`` speaks of any more.

    A note in the folder says so meanwhile: should this process be killed, the next one finds it (see
    :func:`remove_leftovers`).
    """
    note, done = Draft(folder, None), False
    try:
        note.write(_MODEL_START + " ".join(names).encode())
        yield
    finally:
        try:
            _remove_unreferenced(folder, names, ignoring=[note.path])
            done = True
        except OSError as error:
            logger.debug("data files left in %s: %s", folder, error)
        finally:
            note.discard() if done else note.close()


def remove_leftovers(folder: str) -> None:
    """Remove what killed processes left half written in ``folder``; what cannot be removed does no harm."""
    with contextlib.suppress(OSError), claim_abandoned_drafts(folder) as drafts:
        _remove_unreferenced(folder, [name for path in drafts for name in find_data_references(path)], ignoring=drafts)


def find_data_references(path: str) -> list[str]:
    """The data files of ours that the model (or note) at ``path`` speaks of; none if it is neither."""
    with open(path, "rb") as file:
        if file.read(1) != _MODEL_START:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return sorted({name.decode() for name in _DATA_FILE_NAME.findall(mapped)})


def _remove_unreferenced(folder: str, names: Sequence[str], ignoring: Sequence[str]) -> None:
    unreferenced = {name for name in names if os.path.exists(os.path.join(folder, name))}
    for entry in os.scandir(folder) if unreferenced else ():
        if entry.is_file() and entry.path not in ignoring:
            unreferenced -= set(find_data_references(entry.path))
    for name in sorted(unreferenced):
        os.unlink(os.path.join(folder, name))
