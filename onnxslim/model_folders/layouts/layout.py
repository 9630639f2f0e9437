"""What every layout answers: the interface of the modules in this package.

A layout is a module with what :class:`Layout` lists, and a row in the table of
:mod:`onnxslim.model_folders.layouts.registry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from onnxslim.model_folders.folder_files import FolderFiles


@dataclass(frozen=True)
class FolderModel:
    """One ONNX file of a folder.

    Attributes:
        path: Relative to the folder.
        role: What a loader takes it for; no two files of a folder have the same.
        variant_of: The path of the file that it is another precision of; what is a variant already is left as it is.
    """

    path: str
    role: str
    variant_of: str | None = None


class Layout(Protocol):
    """One loader's convention, as a module has it.

    Attributes:
        NAME: What it is called.
        SUFFIX_HINT: How the loader is told to take a file with a suffix, for people.
    """

    NAME: str
    SUFFIX_HINT: str

    def recognizes(self, files: FolderFiles) -> bool:
        """Whether a folder with these files is laid out so; only looks at names."""
        ...

    def list_models(self, files: FolderFiles) -> Sequence[FolderModel]:
        """Every ONNX file, and its role.

        Raises:
            UsageError: Two candidates for one role.
            InvalidModelError: A configuration file is broken, or names what is not there or outside.
        """
        ...

    def check_model(self, files: FolderFiles, member: FolderModel, model: ir.Model) -> None:
        """Compare ``model``, the file ``member``, with what the configuration says of it.

        Raises:
            InvalidModelError: They contradict each other.
        """
        ...
