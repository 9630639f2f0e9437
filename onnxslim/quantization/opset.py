"""Raising a model's opset, for the few steps that cannot do without."""

from __future__ import annotations

import onnx
import onnx.defs
import onnx.version_converter
import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError
from onnxslim.graph.traversal import walk
from onnxslim.model_io import map_types

#: The runtime's own, which it keeps in the standard's domain and which mean the same at every opset; ONNX's converter knows
#: none of them, and passes over what is of another domain.
_UNVERSIONED_OPS = frozenset({"SimplifiedLayerNormalization"})
_PASSED_OVER_DOMAIN = "com.microsoft.unversioned"


def raise_opset(model: ir.Model, version: int) -> tuple[ir.Model, int | None]:
    """``model`` with the standard opset at ``version`` or above, and the version it was raised from (None: untouched; 0: the
    model imported none, having no op of the standard).

    Raises:
        UnsupportedError: ONNX's converter cannot convert it, or would lose its functions.
    """
    current = model.opset_imports.get("", 0)
    if current >= version:
        return model, None
    if current and model.functions:
        raise UnsupportedError(
            f"opset {current} cannot be raised to {version}: the model has functions, which ONNX's converter loses",
            hint="simplify writes them out, or export the model again at a newer opset",
        )
    if current == 0:
        model.opset_imports[""] = version
        return model, 0
    try:
        converted = onnx.version_converter.convert_version(_hide_unversioned(model), version)
    except (RuntimeError, ValueError) as error:
        nodes = [node for node in walk(model.graph) if not node.domain and node.op_type not in _UNVERSIONED_OPS]
        unknown = sorted({node.op_type for node in nodes if not onnx.defs.has(node.op_type)})
        why = str(error).splitlines()[0] if not unknown else f"the standard has no {', '.join(unknown)}"
        raise UnsupportedError(
            f"opset {current} cannot be raised to {version}: {why}",
            hint=f"export the model again at opset {version} or newer",
        ) from error
    raised = map_types.from_proto(converted)
    raised.metadata_props.update(model.metadata_props)
    raised.opset_imports.pop(_PASSED_OVER_DOMAIN, None)
    for node in walk(raised.graph):
        if node.domain == _PASSED_OVER_DOMAIN:
            node.domain = ""
    return raised, current


def _hide_unversioned(model: ir.Model) -> onnx.ModelProto:
    """``model`` as the converter is to see it."""
    hidden = [node for node in walk(model.graph) if not node.domain and node.op_type in _UNVERSIONED_OPS]
    try:
        for node in hidden:
            node.domain = _PASSED_OVER_DOMAIN
        proto = map_types.to_proto(model)
    finally:
        for node in hidden:
            node.domain = ""
    if hidden:
        proto.opset_import.add(domain=_PASSED_OVER_DOMAIN, version=1)
    return proto
