"""Files that are old or new, never half of each.

A draft is a temporary file in the folder of the file it will become: written, flushed to the disk, then renamed, which
the system does whole or not at all. It is locked as long as its writer lives, so what a killed process left behind can
be told from what another one is writing, in another container too, where process numbers mean nothing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator

if sys.platform != "win32":
    import fcntl

#: How the name of every draft begins and ends.
DRAFT_PREFIX, DRAFT_SUFFIX = ".onnxslim-", ".tmp"
_O_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_O_BINARY: int = getattr(os, "O_BINARY", 0)


class Draft:
    """An open temporary file.

    Attributes:
        path: Where it is until it is published.
    """

    def __init__(self, folder: str, mode: int | None) -> None:
        self._mode = mode
        self.path, self._descriptor = _create(folder, 0o666 if mode is None else 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``; one system call may take only a part of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def publish(self, target: str, *, sync: bool = True) -> None:
        """Make this the file at ``target``, with the permissions given to :func:`open_draft`; unless ``sync``, one that
        need not outlive a power cut.
        """
        if self._mode is not None:
            os.chmod(self.path, self._mode)
        if sync:
            os.fsync(self._descriptor)
        if sys.platform == "win32":  # pragma: no cover
            self.close()  # Windows renames no open file; and nothing tidies up there, so the lock is not missed
        os.replace(self.path, target)
        if sync:
            sync_folder(os.path.dirname(target))

    def discard(self) -> None:
        """Close the file and, unless it was published, remove it; what cannot be removed now is removed next time."""
        try:
            self.close()
        finally:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def close(self) -> None:
        """Let go of the file and its lock; unpublished, it now counts as abandoned."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_draft(name: str) -> bool:
    """Whether a file or folder of that name is a draft of ours, abandoned or being written."""
    return name.startswith(DRAFT_PREFIX) and name.endswith(DRAFT_SUFFIX)


@contextlib.contextmanager
def open_draft(folder: str, mode: int | None = None) -> Iterator[Draft]:
    """A new draft in ``folder``, gone at the end of the block unless it was published.

    Args:
        folder: The one of the file it will become; a rename does not cross file systems.
        mode: Permission bits of the published file; None for what the process gives new files.

    Raises:
        OSError: The folder cannot be written to; from the draft's methods: the disk is full, and the like.
    """
    new = Draft(folder, mode)
    try:
        yield new
    finally:
        new.discard()


@contextlib.contextmanager
def claim_abandoned_drafts(folder: str) -> Iterator[list[str]]:
    """The drafts in ``folder`` whose writer is gone, by path; they are held during the block and removed after it."""
    descriptors: dict[str, int] = {}
    try:
        for name in sorted(os.listdir(folder)):
            if is_draft(name):
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    descriptor = os.open(path, os.O_RDWR | _O_NOFOLLOW)
                    if lock(descriptor):
                        descriptors[path] = descriptor
                    else:
                        os.close(descriptor)
        yield list(descriptors)
        for path in descriptors:
            os.unlink(path)
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _create(folder: str, permissions: int) -> tuple[str, int]:
    """A new, locked file. Whoever tidies up may find it before the lock is on, so it is looked at once more."""
    while True:
        path = os.path.join(folder, f"{DRAFT_PREFIX}{secrets.token_hex(8)}{DRAFT_SUFFIX}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _O_NOFOLLOW | _O_BINARY, permissions)
        if lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def lock(descriptor: int) -> bool | None:
    """Try to lock a file, without waiting: True when it is ours, False when it is another's, None where there are no
    locks.
    """
    if sys.platform == "win32":  # pragma: no cover
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def sync_folder(folder: str) -> None:
    """Make a rename in ``folder`` outlive a power cut."""
    if sys.platform == "win32":  # pragma: no cover
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
