"""The graph that the runtime really runs, read back after its own optimisation."""

from __future__ import annotations

import os
import tempfile

import onnx
import onnx_ir as ir

from onnxslim.model_io import map_types
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.session import Session, SessionConfig


def read_optimized_graph(model: ir.Model, config: SessionConfig | None = None) -> ir.Model:
    """``model`` after the runtime's graph optimisation for ``config``'s provider (a copy; tensors in memory)."""
    device, config = current_device(), config or SessionConfig()
    content = _optimize_here(model, config) if device is None else device.optimize_graph(model, config)
    return map_types.from_proto(onnx.ModelProto.FromString(content))


def _optimize_here(model: ir.Model, config: SessionConfig) -> bytes:
    with tempfile.TemporaryDirectory(prefix="onnxslim-") as folder:
        path = os.path.join(folder, "optimized.onnx")
        Session(model, config, optimized_path=path)
        with open(path, "rb") as file:
            return file.read()
