"""Folders that are there whole or not at all.

A draft is a temporary folder beside the one it will become: filled, flushed to the disk, then renamed. Like a draft of a
file (:mod:`onnxslim.model_io.atomic_write`) it is locked while its writer lives, and what a killed process left is removed
by the next one that writes there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator

from onnxslim.model_io.atomic_write import DRAFT_PREFIX, DRAFT_SUFFIX, is_draft, lock, sync_folder


class FolderDraft:
    """A temporary folder.

    Attributes:
        path: Where it is until it is published.
    """

    def __init__(self, parent: str) -> None:
        self.path, self._descriptor = _create(parent)

    def publish(self, target: str) -> None:
        """Make this the folder at ``target``; a folder that is there is replaced, and back in its place where that fails.

        Raises:
            OSError: It cannot be renamed, or a file not be flushed.
        """
        for folder, _, names in os.walk(self.path):
            for name in names:
                _sync_file(os.path.join(folder, name))
            sync_folder(folder)
        os.chmod(self.path, 0o777 & ~_read_umask())
        replaced = None
        if os.path.lexists(target):
            replaced = os.path.join(os.path.dirname(target), f"{DRAFT_PREFIX}{secrets.token_hex(8)}{DRAFT_SUFFIX}")
            os.rename(target, replaced)
        try:
            os.rename(self.path, target)
        except OSError:
            if replaced is not None:
                os.rename(replaced, target)
            raise
        sync_folder(os.path.dirname(target))
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)

    def discard(self) -> None:
        """Let go of the folder and, unless it was published, remove it."""
        try:
            shutil.rmtree(self.path, ignore_errors=True)
        finally:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)


@contextlib.contextmanager
def open_folder_draft(parent: str) -> Iterator[FolderDraft]:
    """A new draft in the folder ``parent``, gone at the end of the block unless it was published.

    Raises:
        OSError: ``parent`` cannot be written to.
    """
    remove_abandoned(parent)
    draft = FolderDraft(parent)
    try:
        yield draft
    finally:
        draft.discard()


def remove_abandoned(parent: str) -> None:
    """Remove the drafts of folders in ``parent`` whose writer is gone; what cannot be removed does no harm."""
    for name in sorted(os.listdir(parent)):
        path = os.path.join(parent, name)
        if is_draft(name) and os.path.isdir(path) and not os.path.islink(path):
            with contextlib.suppress(OSError):
                descriptor = _open_folder(path)
                if descriptor is None:
                    continue
                try:
                    if lock(descriptor):
                        shutil.rmtree(path)
                finally:
                    os.close(descriptor)


def _create(parent: str) -> tuple[str, int | None]:
    """A new, locked folder. Whoever tidies up may find it before the lock is on, so it is looked at once more."""
    while True:
        path = os.path.join(parent, f"{DRAFT_PREFIX}{secrets.token_hex(8)}{DRAFT_SUFFIX}")
        os.mkdir(path, 0o700)
        descriptor = _open_folder(path)
        if descriptor is None or (lock(descriptor) is not False and os.path.isdir(path)):
            return path, descriptor
        os.close(descriptor)


def _open_folder(path: str) -> int | None:
    """A descriptor to lock; None where the system opens no folders."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY) if hasattr(os, "O_DIRECTORY") else None


def _sync_file(path: str) -> None:
    if not os.path.islink(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
