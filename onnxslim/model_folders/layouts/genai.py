"""onnxruntime-genai: ``genai_config.json`` names the files of a generator's parts, and their inputs and outputs."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.model_folders import naming
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.layouts.layout import FolderModel

NAME = "onnxruntime-genai"
SUFFIX_HINT = "genai_config.json names the file: put the one with the suffix there"

CONFIG = "genai_config.json"


def recognizes(files: FolderFiles) -> bool:
    """A ``genai_config.json`` at the top."""
    return files.has(CONFIG)


def list_models(files: FolderFiles) -> list[FolderModel]:
    """The parts that the configuration names, and every other ONNX file by its own name.

    Raises:
        UsageError: Two parts are one file.
        InvalidModelError: The configuration is broken, or names what is not there or outside.
    """
    roles: dict[str, str] = {}
    for role, part in _list_parts(files):
        path = files.resolve_file(part["filename"], CONFIG, f"model.{role}.filename")
        if path in roles:
            raise UsageError(f"{files.find(CONFIG)}: {roles[path]} and {role} are both {path}", hint="name a file for each")
        roles[path] = role
    return [
        FolderModel(path, roles[path])
        if path in roles
        else FolderModel(path, posixpath.splitext(path)[0], naming.find_base(path, files.models))
        for path in files.models
    ]


def check_model(files: FolderFiles, member: FolderModel, model: ir.Model) -> None:
    """The names that the configuration gives the ids and the logits against the model's.

    Raises:
        InvalidModelError: The model has no such input or output.
    """
    have = {"inputs": {value.name for value in model.graph.inputs}, "outputs": {value.name for value in model.graph.outputs}}
    for role, part in _list_parts(files):
        if role != member.role:
            continue
        for kind, key in (("inputs", "input_ids"), ("inputs", "inputs_embeds"), ("outputs", "logits")):
            named = part.get(kind)
            name = named.get(key) if isinstance(named, Mapping) else None
            if isinstance(name, str) and name not in have[kind]:
                names = ", ".join(sorted(filter(None, have[kind])))
                text = f"{files.find(CONFIG)} contradicts {member.path}: model.{role}.{kind}.{key} is {name!r:.80}"
                raise InvalidModelError(f"{text}, and the model has {names}")


def _list_parts(files: FolderFiles) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each part that has a file of its own."""
    parts = files.read_json(CONFIG).get("model")
    if not isinstance(parts, Mapping):
        raise InvalidModelError(f"{files.find(CONFIG)}: expected an object 'model'")
    for role, part in parts.items():
        if isinstance(part, Mapping) and "filename" in part:
            yield str(role), part
        pipeline = part.get("pipeline") if isinstance(part, Mapping) else None
        for stage in pipeline if isinstance(pipeline, list) else ():
            for name, entry in stage.items() if isinstance(stage, Mapping) else ():
                if isinstance(entry, Mapping) and "filename" in entry:
                    yield f"{role}.{name}", entry
