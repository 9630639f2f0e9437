"""The layouts, in the order they are asked whether a folder is theirs.

To add one, write a module with what :class:`~onnxslim.model_folders.layouts.layout.Layout` lists, and put it here.
"""

from __future__ import annotations

from onnxslim.core.errors import UsageError
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.layouts import genai, huggingface, plain, sentence_transformers, triton
from onnxslim.model_folders.layouts.layout import Layout

LAYOUTS: tuple[Layout, ...] = (genai, sentence_transformers, huggingface, triton, plain)


def find_layout(files: FolderFiles) -> Layout:
    """The layout of a folder.

    Raises:
        UsageError: There is no ONNX file in it.
    """
    if not files.models:
        raise UsageError(f"{files.root}: no ONNX file in the folder", hint="expected at least one file that ends in .onnx")
    return next(layout for layout in LAYOUTS if layout.recognizes(files))
