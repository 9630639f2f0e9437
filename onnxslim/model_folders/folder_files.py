"""What lies in a folder, and configuration files read as a stranger's: bounded, and never leading outside."""

from __future__ import annotations

import json
import ntpath
import os
import posixpath
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from onnxslim.core.errors import InvalidModelError, LimitError, UsageError
from onnxslim.model_io.atomic_write import is_draft
from onnxslim.model_io.external_data.data_reader import find_blob_store
from onnxslim.pipeline.result import compute_digest

#: Bytes of a configuration file: those that models come with have some kilobytes.
MAX_CONFIG_BYTES = 8_000_000
#: Files of a folder, beyond which it is no model's.
MAX_FILES = 100_000
MODEL_SUFFIX = ".onnx"
#: What the report in a folder that was written here is called; a folder that has none is nobody's to overwrite.
REPORT_NAME = "onnxslim.json"


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder; paths are relative to it, with ``/`` on every system.

    Attributes:
        root: The folder, as the user spelled it.
        files: What is copied: plain files, and links of the hub's cache into its store, which stand for files.
        links: Other links, each with the path that it leads to, in the folder too.
        folders: Folders, those of the files and empty ones.
        drafts: Where files are that are not at their places yet.
    """

    root: str
    files: tuple[str, ...]
    links: Mapping[str, str]
    folders: tuple[str, ...]
    drafts: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The ONNX files, in order of name; hidden ones, of editors and archives, are no loader's."""
        return tuple(path for path in self.files if path.lower().endswith(MODEL_SUFFIX) and not _is_hidden(path))

    def find(self, path: str) -> str:
        """Where ``path`` is on the disk."""
        return self.drafts.get(path) or os.path.join(self.root, *path.split("/"))

    def has(self, path: str) -> bool:
        """Whether there is a file at ``path``, or a link to one."""
        return path in self._paths

    def read_json(self, path: str) -> Mapping[str, Any]:
        """The JSON object in the file at ``path``.

        Raises:
            InvalidModelError: It is not one; says where it breaks off.
        """
        content = self.read_json_value(path)
        if not isinstance(content, dict):
            raise InvalidModelError(f"{self.find(path)}: {type(content).__name__}, expected a JSON object")
        return content

    def read_json_value(self, path: str) -> Any:
        """What the JSON file at ``path`` holds.

        Raises:
            InvalidModelError: It is no JSON.
        """
        try:
            return json.loads(self.read_text(path))
        except (ValueError, RecursionError) as error:
            raise InvalidModelError(f"{self.find(path)}: not JSON: {error}") from error

    def read_text(self, path: str) -> str:
        """The text of the configuration file at ``path``.

        Raises:
            InvalidModelError: It is no UTF-8.
            LimitError: It is larger than any configuration.
        """
        place = self.find(path)
        if (size := os.path.getsize(place)) > MAX_CONFIG_BYTES:
            raise LimitError(f"{place}: {size} bytes, expected a configuration of at most {MAX_CONFIG_BYTES}")
        with open(place, "rb") as file:
            content = file.read()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidModelError(f"{place}: not UTF-8 at byte {error.start}") from error

    def resolve(self, named: object, config: str, key: str) -> str:
        """The path that a configuration file names, relative to the folder that the file lies in.

        Args:
            named: What it says.
            config: The configuration file.
            key: Where in it, for errors.

        Raises:
            InvalidModelError: No relative path, or one that leads outside.
        """
        where = f"{self.find(config)}: {key}"
        if not isinstance(named, str) or "\0" in named:
            raise InvalidModelError(f"{where} is {named!r:.80}, expected a path relative to it")
        spelled = named.replace("\\", "/")
        if ntpath.splitdrive(named)[0] or spelled.startswith("/"):
            raise InvalidModelError(f"{where} names {named[:80]!r}, expected a path relative to it")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(config), spelled))
        if path == ".." or path.startswith("../"):
            raise InvalidModelError(f"{where} names {named[:80]!r}, which is outside the folder")
        return "" if path == "." else path

    def resolve_file(self, named: object, config: str, key: str) -> str:
        """Like :meth:`resolve`, of a file that has to be there.

        Raises:
            InvalidModelError: It is not; or as :meth:`resolve`.
        """
        path = self.resolve(named, config, key)
        if not self.has(path):
            have = ", ".join(self.models[:5]) or "no ONNX file"
            raise InvalidModelError(f"{self.find(config)}: {key} names {named!r:.80}, which is not there; there is {have}")
        return path

    def digest(self) -> dict[str, str]:
        """The SHA-256 of every file by its path, and where each link leads; but for a report that was written here."""
        files = {path: compute_digest(self.find(path)) for path in self.files if path != REPORT_NAME}
        return dict(sorted((files | {path: f"link to {target}" for path, target in self.links.items()}).items()))

    def count_bytes(self) -> int:
        """Bytes of all files but that report."""
        return sum(os.path.getsize(self.find(path)) for path in self.files if path != REPORT_NAME)

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset((*self.files, *self.links))


def list_folder(folder: str | os.PathLike[str]) -> FolderFiles:
    """What lies in ``folder`` and below, in order of name.

    Raises:
        UsageError: It is not there or cannot be read, or it is the root of a hub's cache and not one of its snapshots.
        InvalidModelError: A link leads outside, or nowhere; a pipe, device or socket.
        LimitError: More files than any model has.
    """
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise UsageError(f"{root}: no such folder")
    if os.path.isdir(os.path.join(root, "snapshots")) and os.path.isdir(os.path.join(root, "blobs")):
        snapshots = sorted(os.listdir(os.path.join(root, "snapshots")))
        hint = f"name one of its snapshots, as {os.path.join(root, 'snapshots', snapshots[-1])}" if snapshots else None
        raise UsageError(f"{root}: a cache of the hub, expected the folder of one model", hint=hint)
    files: list[str] = []
    links: dict[str, str] = {}
    folders: list[str] = []

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: {os.strerror(error.errno or 0)}") from error

    real_root = os.path.realpath(root)
    for place, names, file_names in os.walk(root, onerror=refuse):
        names[:] = sorted(name for name in names if not is_draft(name))
        relative = os.path.relpath(place, root).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        for name in [*names, *(name for name in sorted(file_names) if not is_draft(name))]:
            path, full = prefix + name, os.path.join(place, name)
            if os.path.islink(full) and not _is_stored(full):
                links[path] = _find_target(full, real_root)
            elif name in names:
                folders.append(path)
            elif not stat.S_ISREG(os.stat(full).st_mode):
                raise InvalidModelError(f"{full}: a pipe, device or socket, expected a file")
            else:
                files.append(path)
        names[:] = [name for name in names if prefix + name not in links]
        if len(files) > MAX_FILES:
            raise LimitError(f"{root}: over {MAX_FILES} files, expected the folder of one model")
    return FolderFiles(root, tuple(sorted(files)), links, tuple(folders))


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _is_stored(path: str) -> bool:
    """Whether the link at ``path`` is one of the hub's cache into its own store."""
    return os.path.isfile(path) and find_blob_store(path) is not None


def _find_target(path: str, real_root: str) -> str:
    """Where the link at ``path`` leads, relative to the folder.

    Raises:
        InvalidModelError: Outside, or nowhere.
    """
    target = os.path.realpath(path)
    if target != real_root and not target.startswith(real_root + os.sep):
        raise InvalidModelError(f"{path}: a link that leaves the folder", hint="put what it leads to in its place")
    if not os.path.exists(target):
        raise InvalidModelError(f"{path}: a link that leads nowhere")
    return os.path.relpath(target, real_root).replace(os.sep, "/")
