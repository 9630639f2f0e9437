"""Several models whose tensors are in one data file beside them, under a name that a loader looks for."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

import onnx_ir as ir

from onnxslim.model_io import atomic_write
from onnxslim.model_io.external_data import data_writer
from onnxslim.model_io.serialization import to_bytes


def save_sharing(models: Mapping[str, ir.Model], data_path: str) -> None:
    """Write ``models`` by path, and the larger tensors of all of them to ``data_path``, equal ones once.

    Args:
        models: What goes where; they are not changed.
        data_path: In the folder of every one of the models, or below it, because a model's data may lie nowhere else.

    Raises:
        ValueError: It is not.
        LimitError: What is left inside a model is more than one message can hold.
        InvalidModelError: A graph is broken, or an initializer has no value.
        OSError: A file cannot be written.
    """
    locations_by_model = {path: _find_location(path, data_path) for path in models}
    with atomic_write.open_draft(os.path.dirname(data_path)) as data:
        locations, _ = data_writer.write_tensors(list(models.values()), data)
        if locations:
            data.publish(data_path)
        for path, model in models.items():
            with atomic_write.open_draft(os.path.dirname(path)) as draft:
                draft.write(to_bytes(model, locations, locations_by_model[path]))
                draft.publish(path)


def _find_location(path: str, data_path: str) -> str:
    location = os.path.relpath(data_path, os.path.dirname(path)).replace(os.sep, "/")
    if posixpath.normpath(location).startswith(".."):
        raise ValueError(f"{data_path} is outside the folder of {path}")
    return location
