"""sentence-transformers: ``modules.json`` lists a transformer and what makes one vector of its states (pooling)."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError
from onnxslim.data.model_inputs import read_dims
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.layouts import huggingface
from onnxslim.model_folders.layouts.layout import FolderModel

NAME = "sentence-transformers"
SUFFIX_HINT = "SentenceTransformer(…, backend='onnx', model_kwargs={'file_name': 'onnx/model_int8.onnx'})"

MODULES = "modules.json"


def recognizes(files: FolderFiles) -> bool:
    """A ``modules.json`` at the top."""
    return files.has(MODULES)


def list_models(files: FolderFiles) -> list[FolderModel]:
    """As the hub's.

    Raises:
        InvalidModelError: A module lies outside the folder.
    """
    _list_modules(files)
    return huggingface.list_models(files)


def check_model(files: FolderFiles, member: FolderModel, model: ir.Model) -> None:
    """As the hub's, and the width that pooling reads against that of the states.

    Raises:
        InvalidModelError: They contradict each other.
    """
    if huggingface.recognizes(files):
        huggingface.check_model(files, member, model)
    for folder, kind in _list_modules(files):
        config = posixpath.join(folder, huggingface.CONFIG)
        if kind.rsplit(".", 1)[-1] != "Pooling" or not files.has(config):
            continue
        width = files.read_json(config).get("word_embedding_dimension")
        states = [dims for value in model.graph.outputs if (dims := read_dims(value)) is not None and len(dims) == 3]
        if isinstance(width, int) and states and isinstance(states[0][-1], int) and states[0][-1] != width:
            raise InvalidModelError(
                f"{files.find(config)} contradicts {member.path}: word_embedding_dimension is {width}, the states are "
                f"{states[0][-1]} wide"
            )


def _list_modules(files: FolderFiles) -> list[tuple[str, str]]:
    """The modules' folders and types."""
    modules = files.read_json_value(MODULES)
    if not isinstance(modules, list) or not all(isinstance(module, Mapping) for module in modules):
        raise InvalidModelError(f"{files.find(MODULES)}: expected a list of modules")
    return [(files.resolve(m.get("path", ""), MODULES, _name(m)), str(m.get("type", ""))) for m in modules]


def _name(module: Mapping[str, Any]) -> str:
    return f"the path of module {module.get('idx', '?')}"
