"""Triton's model repository: a folder for each model, with ``config.pbtxt`` and a folder for each version."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError
from onnxslim.data.model_inputs import read_dims
from onnxslim.model_folders import naming
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.text_format import TextFormatError, parse_text_format

NAME = "Triton"
SUFFIX_HINT = 'config.pbtxt takes default_model_filename: "model_int8.onnx"'

CONFIG = "config.pbtxt"
_DEFAULT_FILE = "model.onnx"
#: Triton's names of element types that differ from ONNX's.
_TYPES = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BF16": "BFLOAT16"}


def recognizes(files: FolderFiles) -> bool:
    """A ``config.pbtxt`` at the top or one folder down, or files where the server looks for those of versions."""
    configs = any(posixpath.basename(path) == CONFIG and path.count("/") <= 1 for path in files.files)
    return configs or all(_split(path) is not None for path in files.models)


def list_models(files: FolderFiles) -> list[FolderModel]:
    """The file that each version serves, and every other ONNX file by its own name.

    Raises:
        InvalidModelError: A configuration is broken, or names a file outside.
    """
    members = []
    for path in files.models:
        served = _split(path)
        if served is not None and _find_served(files, *served) in (path, posixpath.dirname(path)):
            model, version = served
            members.append(FolderModel(path, f"{posixpath.basename(model) or 'model'} version {version}"))
        else:
            members.append(FolderModel(path, posixpath.splitext(path)[0], naming.find_base(path, files.models)))
    return members


def check_model(files: FolderFiles, member: FolderModel, model: ir.Model) -> None:
    """Names, element types and fixed sizes of inputs and outputs against what the configuration says.

    Raises:
        InvalidModelError: They contradict each other.
    """
    served = _split(member.path)
    if served is None or member.variant_of is not None:
        return
    config, path = _read(files, served[0])
    batched = any(size > 0 for size in _read_numbers(config.get("max_batch_size", [])))
    for kind, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        by_name = {value.name: value for value in values}
        for entry in config.get(kind, []):
            name = entry["name"][-1] if isinstance(entry, Mapping) and entry.get("name") else None
            if not isinstance(name, str):
                continue
            where = f"{files.find(path)} contradicts {member.path}: {kind} '{name}'"
            if name not in by_name:
                raise InvalidModelError(f"{where} is not among the model's, which are {', '.join(map(str, by_name))}")
            _compare(entry, by_name[name], where, batched=batched)


def _compare(entry: Mapping[str, Any], value: ir.Value, where: str, *, batched: bool) -> None:
    kind = str(next(iter(entry.get("data_type", [])), "")).removeprefix("TYPE_")
    kind = _TYPES.get(kind, kind)
    if kind and value.dtype is not None and kind != value.dtype.name:
        raise InvalidModelError(f"{where} is {kind.lower()}, and the model's {value.dtype.name.lower()}")
    reshape = next(iter(entry.get("reshape", [])), None)  # from what clients send to what the model takes
    declared = _read_numbers(
        (reshape if isinstance(reshape, Mapping) else {"shape": entry.get("dims", [])}).get("shape", [])
    )
    dims = read_dims(value)
    if dims is None or not declared:
        return
    sizes = [-1, *declared] if batched else declared
    if len(sizes) != len(dims) or not _fits(sizes, dims):
        shape = ", ".join("?" if dim is None else str(dim) for dim in dims)
        raise InvalidModelError(f"{where} has dims {declared}{' and a batch' if batched else ''}, and the model's ({shape})")


def _read_numbers(values: Sequence[Any]) -> list[int]:
    return [int(value) for value in values if isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}", value)]


def _fits(sizes: Sequence[int], dims: Sequence[int | str | None]) -> bool:
    return all(size < 0 or not isinstance(dim, int) or size == dim for size, dim in zip(sizes, dims, strict=True))


def _split(path: str) -> tuple[str, str] | None:
    """The folder of the model and the version that the file at ``path`` is of; None where it is of none."""
    parts = path.split("/")
    place = next((i for i in (len(parts) - 2, len(parts) - 3) if i >= 0 and parts[i].isdecimal()), None)
    return None if place is None or place > 1 else ("/".join(parts[:place]), parts[place])


def _find_served(files: FolderFiles, model: str, version: str) -> str:
    config, path = _read(files, model)
    named = config.get("default_model_filename") or [_DEFAULT_FILE]
    return files.resolve(f"{version}/{named[-1]}", path, "default_model_filename")


def _read(files: FolderFiles, model: str) -> tuple[dict[str, list[Any]], str]:
    """The configuration of ``model`` and its path; empty where the server would make one up."""
    path = posixpath.join(model, CONFIG)
    if not files.has(path):
        return {}, path
    try:
        return parse_text_format(files.read_text(path)), path
    except TextFormatError as error:
        raise InvalidModelError(f"{files.find(path)}: {error}") from error
