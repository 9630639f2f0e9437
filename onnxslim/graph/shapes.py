"""Shapes: what is known of each tensor's dimensions, and binding the free ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxslim.errors import UsageError

logger = logging.getLogger(__name__)

#: A free spatial dimension (rank 4 or 5, axes 2…) is counted at this size, every other free one at 1 (contract.md).
SPATIAL = 224


def infer(model: ir.Model) -> None:
    """Annotate the values of ``model`` in place with inferred types and shapes; odd models keep what they had."""
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        logger.debug("shape inference gave up: %s", error)


def dims(value: ir.Value | None) -> tuple[int | str | None, ...] | None:
    """The dimensions of ``value``: an int where known, a name where symbolic, None where unknown; None without a rank."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def static(value: ir.Value | None) -> tuple[int, ...] | None:
    """The dimensions of ``value`` when every one of them is known."""
    found = dims(value)
    if found is None:
        return None
    known = tuple(dim for dim in found if isinstance(dim, int))
    return known if len(known) == len(found) else None


def inputs(model: ir.Model) -> list[ir.Value]:
    """The graph inputs that a caller must feed: those without a default."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def sizes(value: ir.Value, given: Mapping[str, int] | None = None) -> tuple[int, ...]:
    """Concrete dimensions for a graph input: given by name, else 1, or 224 for the spatial ones."""
    given = given or {}
    found = dims(value) or ()
    return tuple(
        dim if isinstance(dim, int) else given.get(dim or "", SPATIAL if len(found) in (4, 5) and axis >= 2 else 1)
        for axis, dim in enumerate(found)
    )


def bind(model: ir.Model, given: Mapping[str, int] | None = None) -> None:
    """Fix every free input dimension in place (see :func:`sizes`) and infer the shapes that follow.

    Raises:
        UsageError: ``given`` names a dimension that no input has.
    """
    names = {dim for value in inputs(model) for dim in dims(value) or () if isinstance(dim, str)}
    for name in given or {}:
        if name not in names:
            raise UsageError(
                f"--dim {name}: no input has it", hint=f"free dimensions: {', '.join(sorted(names)) or 'none'}"
            )
    for value in inputs(model):
        if value.shape is not None:
            value.shape = ir.Shape(sizes(value, given))
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None
    for output in model.graph.outputs:
        if output.shape is not None and any(not isinstance(dim, int) for dim in output.shape):
            output.shape = ir.Shape([dim if isinstance(dim, int) else None for dim in output.shape])
    infer(model)
