"""A folder without a convention: every ONNX file is a model of its own."""

from __future__ import annotations

import posixpath

import onnx_ir as ir

from onnxslim.model_folders import naming
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.layouts.layout import FolderModel

NAME = "plain"
SUFFIX_HINT = "load the file by its name"


def recognizes(files: FolderFiles) -> bool:
    """Any folder."""
    return True


def list_models(files: FolderFiles) -> list[FolderModel]:
    """Every ONNX file, called by its path without the ending."""
    return [
        FolderModel(path, posixpath.splitext(path)[0], variant_of=naming.find_base(path, files.models))
        for path in files.models
    ]


def check_model(files: FolderFiles, member: FolderModel, model: ir.Model) -> None:
    """Nothing says what a model should be."""
