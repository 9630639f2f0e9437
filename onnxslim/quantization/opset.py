"""Raising a model's opset, for the few steps that cannot do without."""

from __future__ import annotations

import onnx.defs
import onnx.version_converter
import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError
from onnxslim.graph.traversal import walk
from onnxslim.model_io import map_types


def raise_opset(model: ir.Model, version: int) -> tuple[ir.Model, int | None]:
    """``model`` with the standard opset at ``version`` or above, and the version it was raised from (None: untouched).

    Raises:
        UnsupportedError: ONNX's converter cannot convert it.
    """
    current = model.opset_imports.get("", 0)
    if current >= version:
        return model, None
    try:
        converted = onnx.version_converter.convert_version(map_types.to_proto(model), version)
    except (RuntimeError, ValueError) as error:
        unknown = sorted({node.op_type for node in walk(model.graph) if not node.domain and not onnx.defs.has(node.op_type)})
        why = str(error).splitlines()[0] if not unknown else f"the standard has no {', '.join(unknown)}"
        raise UnsupportedError(
            f"opset {current} cannot be raised to {version}: {why}",
            hint=f"export the model again at opset {version} or newer",
        ) from error
    raised = map_types.from_proto(converted)
    raised.metadata_props.update(model.metadata_props)
    return raised, current
