"""A folder of models as a loader sees it: its layout, what each ONNX file is for, and which of them share data files."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from onnxslim.core.errors import OnnxslimError
from onnxslim.model_folders import naming
from onnxslim.model_folders.folder_files import FolderFiles, list_folder
from onnxslim.model_folders.layouts.layout import FolderModel, Layout
from onnxslim.model_folders.layouts.registry import find_layout
from onnxslim.model_io import model_file

#: Files that tell how inputs are made, by what they tell.
INPUT_CONFIGS = ("preprocessor_config.json", "tokenizer.json")


@dataclass(frozen=True)
class DataGroup:
    """Members that share data files, or one that has its own or none.

    Attributes:
        members: In order of name.
        data_files: The files, relative to the folder, each once whatever a link calls it.
    """

    members: tuple[FolderModel, ...]
    data_files: tuple[str, ...]


@dataclass(frozen=True)
class ModelFolder:
    """A folder and the models in it.

    Attributes:
        files: What lies in it.
        layout: The loader's convention.
        members: Every ONNX file.
    """

    files: FolderFiles
    layout: Layout
    members: tuple[FolderModel, ...]

    def find(self, member: FolderModel) -> str:
        """Where ``member`` is on the disk."""
        return self.files.find(member.path)

    def find_input_configs(self, member: FolderModel) -> str:
        """The nearest folder, from that of ``member`` up, whose files tell how inputs are made; else the whole."""
        folder = posixpath.dirname(member.path)
        while True:
            if not folder:
                return self.files.root
            if any(self.files.has(posixpath.join(folder, name)) for name in INPUT_CONFIGS):
                return self.files.find(folder)
            folder = posixpath.dirname(folder)

    def list_data_files(self, member: FolderModel) -> dict[str, str]:
        """The data files of ``member``: as it finds them, relative to the folder, and their real paths.

        Raises:
            OnnxslimError: As :func:`~onnxslim.model_io.model_file.find_data_files` raises.
        """
        found = model_file.find_data_files(self.find(member))
        folder = posixpath.dirname(member.path)
        return {posixpath.normpath(posixpath.join(folder, name)): real for name, real in found.items()}

    def group_by_data(self, members: Sequence[FolderModel]) -> list[DataGroup]:
        """``members`` by the data files that they share, directly or through a third, in order of name."""
        groups: list[tuple[list[FolderModel], dict[str, str]]] = []
        for member in members:
            data = self.list_data_files(member)
            joined = [group for group in groups if not set(group[1].values()).isdisjoint(data.values())]
            groups = [group for group in groups if group not in joined]
            groups.append(
                (
                    [*(one for group in joined for one in group[0]), member],
                    {name: real for files in (*(group[1] for group in joined), data) for name, real in files.items()},
                )
            )
        return [
            DataGroup(tuple(sorted(found, key=lambda member: member.path)), self._name_each_once(data))
            for found, data in sorted(groups, key=lambda group: min(member.path for member in group[0]))
        ]

    def _name_each_once(self, data: dict[str, str]) -> tuple[str, ...]:
        names: dict[str, str] = {}
        for name, real in sorted(data.items(), key=lambda item: (item[0] in self.files.links, item[0])):
            names.setdefault(real, name)
        return tuple(sorted(names.values()))


def open_model_folder(folder: str | os.PathLike[str], suffix: str | None = None) -> ModelFolder:
    """Look into ``folder``, load every model once, and compare it with what configuration files say.

    Args:
        folder: A path.
        suffix: Files whose names end in it are results of before, and so variants of what they were made of.

    Raises:
        UsageError: No ONNX file, or two candidates for one role.
        InvalidModelError: A model or a configuration file is broken, they contradict each other, or one leads outside.
    """
    return arrange_models(list_folder(folder), suffix)


def arrange_models(files: FolderFiles, suffix: str | None = None) -> ModelFolder:
    """:func:`open_model_folder` of what is listed already."""
    layout = find_layout(files)
    members = tuple(layout.list_models(files))
    if suffix is not None:
        made = {naming.add_suffix(member.path, suffix): member.path for member in members}
        members = tuple(dataclasses.replace(one, variant_of=one.variant_of or made.get(one.path)) for one in members)
    for member in members:
        layout.check_model(files, member, model_file.load(files.find(member.path)))
    return ModelFolder(files, layout, members)


def name_in_error(error: OnnxslimError, path: str) -> OnnxslimError:
    """``error`` with the file of the folder that it is about, if it does not say that already."""
    if path in error.message:
        return error
    named = type(error)(f"{path}: {error.message}", hint=error.hint)
    if hasattr(error, "result"):
        named.result = error.result  # type: ignore[attr-defined]
    return named
