"""Writing the folder: what is not compressed byte for byte, and the whole or nothing of it."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from onnxslim.core.errors import LimitError, OnnxslimError, UsageError
from onnxslim.model_folders.folder_draft import open_folder_draft
from onnxslim.model_folders.folder_files import REPORT_NAME, FolderFiles, list_folder
from onnxslim.model_io.model_file import FULL_DISK_ERRORS


class FolderWriter:
    """A folder that is being written.

    Args:
        files: The folder that it is made of.
        draft: Where it is written.
        target: What it becomes; the folder itself where files are written beside those that are there.
    """

    def __init__(self, files: FolderFiles, draft: str, target: str) -> None:
        self._files, self._draft, self._target = files, draft, target

    def place(self, path: str) -> str:
        """Where the file ``path`` of the folder is written; its own folder is there then."""
        target = os.path.join(self._draft, *path.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return target

    def copy(self, path: str) -> None:
        """Copy the file ``path`` byte for byte, with its permissions."""
        source, target = self._files.find(path), self.place(path)
        shutil.copyfile(source, target)
        os.chmod(target, stat.S_IMODE(os.stat(source).st_mode) & 0o777 | stat.S_IWUSR)

    def copy_tree(self, leaving_out: set[str]) -> tuple[int, list[str]]:
        """Copy every file but those of ``leaving_out`` and those that are written already, then the links.

        Returns:
            How many files were copied, and the links that would lead nowhere and were left out.
        """
        copied, lost = 0, []
        for folder in self._files.folders:
            os.makedirs(os.path.join(self._draft, *folder.split("/")), exist_ok=True)
        for path in self._files.files:
            if path not in leaving_out and path != REPORT_NAME and not os.path.lexists(self.place(path)):
                self.copy(path)
                copied += 1
        for path, leads_to in self._files.links.items():
            target = self.place(path)
            if os.path.lexists(target):
                continue
            os.symlink(os.path.relpath(leads_to, posixpath.dirname(path) or "."), target)
            if not os.path.exists(target):
                os.unlink(target)
                lost.append(path)
        return copied, lost

    def list_files(self) -> FolderFiles:
        """What has been written so far."""
        return list_folder(self._draft)

    def list_result(self) -> FolderFiles:
        """The folder as it is going to be, each file found where it is now."""
        written, own = self.list_files(), self._files
        beside = own if self._target == own.root else FolderFiles(self._target, (), {}, ())
        return FolderFiles(
            self._target, tuple(sorted({*beside.files, *written.files})), {**beside.links, **written.links},
            tuple(sorted({*beside.folders, *written.folders})), {path: written.find(path) for path in written.files},
        )  # fmt: skip

    def list_written(self) -> list[str]:
        """The files of the draft, relative to it, data before the models that refer to them."""
        found = [
            os.path.relpath(os.path.join(folder, name), self._draft).replace(os.sep, "/")
            for folder, _, names in os.walk(self._draft)
            for name in names
        ]
        return sorted(found, key=lambda path: (path.lower().endswith(".onnx"), path))


def check_target(files: FolderFiles, out: str, *, force: bool) -> None:
    """Refuse, before any work, a folder that could not be written at the end of it.

    Raises:
        UsageError: It exists, its parent does not, or it is within the folder that is read or the other way round.
    """
    target, root = Path(os.path.realpath(out)), Path(os.path.realpath(files.root))
    parent = os.path.dirname(os.path.abspath(out))
    if target.is_relative_to(root) or root.is_relative_to(target):
        raise UsageError(f"-o {out}: within {files.root}", hint="name another folder, or --suffix int8 to write beside")
    if os.path.lexists(out):
        if not force:
            raise UsageError(f"-o {out}: exists already", hint="--force overwrites a folder that was written here")
        if not os.path.isfile(os.path.join(out, REPORT_NAME)) or os.path.islink(out):
            text = f"-o {out}: not a folder that was written here, since there is no {REPORT_NAME} in it"
            raise UsageError(text, hint="remove it yourself, or name another")
    if not os.path.isdir(parent):
        raise UsageError(f"-o {out}: there is no folder {parent}")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"-o {out}: the folder cannot be written to")


@contextlib.contextmanager
def write_folder(files: FolderFiles, out: str) -> Iterator[FolderWriter]:
    """A folder that is at ``out`` at the end of the block, whole; after any failure nothing is there, or what was.

    Raises:
        UsageError: A file cannot be read or written.
        LimitError: The disk is full.
    """
    target = os.path.abspath(out)
    with _name_disk_errors(out), open_folder_draft(os.path.dirname(target)) as draft:
        yield FolderWriter(files, draft.path, out)
        draft.publish(target)


@contextlib.contextmanager
def write_beside(files: FolderFiles) -> Iterator[FolderWriter]:
    """Files that are in the folder itself at the end of the block, each whole, models after their data.

    Raises:
        UsageError: A file cannot be read or written.
        LimitError: The disk is full.
    """
    with _name_disk_errors(files.root), open_folder_draft(os.path.abspath(files.root)) as draft:
        writer = FolderWriter(files, draft.path, files.root)
        yield writer
        for path in writer.list_written():
            os.replace(writer.place(path), files.find(path))


@contextlib.contextmanager
def _name_disk_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OnnxslimError:
        raise
    except OSError as error:
        text = f"{error.filename or name}: {error.strerror or error}"
        raise (LimitError if error.errno in FULL_DISK_ERRORS else UsageError)(text) from error
