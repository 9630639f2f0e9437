"""The hub's layout, as transformers, optimum and transformers.js read it: ``config.json``, models in ``onnx/`` or beside it.

A file is called by what it is (``model``, ``encoder_model``, ``decoder_model_merged``, ``vision_model``…); precisions are
told apart by a suffix (``_fp16``, ``_quantized``, ``_q4f16``), which transformers.js selects by its ``dtype``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.data.model_inputs import get_model_inputs, read_dims
from onnxslim.model_folders import naming
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.layouts.layout import FolderModel

NAME = "Hugging Face"
SUFFIX_HINT = "transformers.js takes dtype: 'int8' and the like, optimum file_name="

CONFIG = "config.json"
#: Where loaders look for models.
_FOLDERS = ("", "onnx")
#: Architectures whose logits are one for each label.
_LABELED = ("ForSequenceClassification", "ForImageClassification", "ForAudioClassification")


def recognizes(files: FolderFiles) -> bool:
    """A ``config.json`` at the top."""
    return files.has(CONFIG)


def list_models(files: FolderFiles) -> list[FolderModel]:
    """Every ONNX file; its role is its name, behind that of its folder where loaders do not look there by themselves.

    Raises:
        UsageError: One name both at the top and in ``onnx/``.
    """
    members = [_make_member(path, files) for path in files.models]
    by_role: dict[str, str] = {}
    for member in members:
        first = by_role.setdefault(member.role, member.path)
        if first != member.path:
            raise UsageError(
                f"{files.root}: {first} and {member.path} are both the {member.role}",
                hint="take one of them out of the folder",
            )
    return members


def check_model(files: FolderFiles, member: FolderModel, model: ir.Model) -> None:
    """The vocabulary against the table that ids are looked up in, and the labels against the logits.

    Raises:
        InvalidModelError: They contradict each other.
    """
    config = files.read_json(CONFIG)
    where = f"{files.find(CONFIG)} contradicts {member.path}"
    words = config.get("vocab_size")
    ids = next((i for i in _list_inputs(model) if i.name == "input_ids"), None)
    if isinstance(words, int) and ids is not None and ids.limit is not None and ids.limit < words:
        raise InvalidModelError(f"{where}: vocab_size is {words}, and 'input_ids' looks up one of {ids.limit} rows")
    labels = _count_labels(config)
    logits = next((value for value in model.graph.outputs if value.name == "logits"), None)
    dims = None if logits is None else read_dims(logits)
    if labels and dims and isinstance(dims[-1], int) and dims[-1] != labels:
        raise InvalidModelError(f"{where}: it has {labels} labels, and 'logits' {dims[-1]} columns")


def _make_member(path: str, files: FolderFiles) -> FolderModel:
    folder, name = posixpath.split(path)
    role = posixpath.splitext(name)[0]
    return FolderModel(path, role if folder in _FOLDERS else f"{folder}/{role}", naming.find_base(path, files.models))


def _count_labels(config: Mapping[str, Any]) -> int | None:
    architectures = config.get("architectures")
    labels = config.get("id2label")
    if not isinstance(architectures, list) or not isinstance(labels, dict):
        return None
    return len(labels) if any(str(name).endswith(_LABELED) for name in architectures) else None


def _list_inputs(model: ir.Model) -> Any:
    return get_model_inputs(model) if all(isinstance(v.type, ir.TensorType) for v in model.graph.inputs) else ()
