"""Types that ONNX's inference does not know, as the runtime infers them: of its own ops and of those of custom libraries."""

from __future__ import annotations

import logging

import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.graph.signature import tap_outputs
from onnxslim.runtime.session import Session, SessionConfig

logger = logging.getLogger(__name__)

_SPELLINGS = {"float": ir.DataType.FLOAT, "double": ir.DataType.DOUBLE}
_WRAPPERS = {"seq": ir.SequenceType, "optional": ir.OptionalType}


def infer_runtime_types(model: ir.Model, config: SessionConfig) -> int:
    """Give tensors of the main graph without a type the one that the runtime infers, in place; how many got one.

    Where the runtime does not load the model (an op of a library that is not here) they stay without.
    """
    untyped = {str(value.name): value for node in model.graph for value in node.outputs if value.name and value.type is None}
    if not untyped:
        return 0
    try:
        session = Session(tap_outputs(model, untyped), config.with_(optimize=False))
    except OnnxslimError as error:
        logger.info("types that ONNX does not infer are not known: %s", error.message)
        return 0
    found = {name: parse_type(text) for name, text in session.output_types.items() if name in untyped}
    for name, kind in found.items():
        untyped[name].type = kind
    return sum(kind is not None for kind in found.values())


def parse_type(text: str) -> ir.TypeProtocol | None:
    """``tensor(float)`` or ``seq(tensor(int64))`` as a type; None of what has none here (a map)."""
    wrapper, _, inner = text.removesuffix(")").partition("(")
    if wrapper in _WRAPPERS:
        kind = parse_type(inner)
        return None if kind is None else _WRAPPERS[wrapper](kind)
    if wrapper != "tensor":
        return None
    dtype = _SPELLINGS.get(inner) or ir.DataType.__members__.get(inner.upper())
    return None if dtype is None else ir.TensorType(dtype)
