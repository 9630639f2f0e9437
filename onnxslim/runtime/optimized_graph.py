"""The graph that the runtime really runs, read back after its own optimisation."""

from __future__ import annotations

import os
import tempfile

import onnx
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.model_io import map_types, serialization
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.session import Session, SessionConfig


def read_optimized_graph(model: ir.Model, config: SessionConfig | None = None) -> ir.Model:
    """``model`` after the runtime's graph optimisation for ``config``'s provider (a copy; tensors in memory).

    Raises:
        UnsupportedError: What a device sent is no model.
        InvalidModelError: The runtime refuses the model.
    """
    device, config = current_device(), config or SessionConfig()
    if device is None:
        return map_types.from_proto(onnx.ModelProto.FromString(_optimize_here(model, config)))
    content = device.optimize_graph(model, config)
    try:
        return map_types.from_proto(serialization.parse(content))
    except InvalidModelError as error:  # of the answer, and no word about the model
        raise UnsupportedError(
            f"the graph that the runtime made on {device.name} cannot be read: {error.message}"
        ) from error


def _optimize_here(model: ir.Model, config: SessionConfig) -> bytes:
    with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
        path = os.path.join(folder, "optimized.onnx")
        Session(model, config, optimized_path=path)
        with open(path, "rb") as file:
            return file.read()
