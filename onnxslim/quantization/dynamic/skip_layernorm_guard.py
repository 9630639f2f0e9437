"""Residual sums kept from being fused into SkipLayerNormalization, whose kernel is slower than what it replaces.

onnxruntime's CPU provider fuses Add and LayerNormalization into com.microsoft's SkipLayerNormalization. Its kernel takes
134 us for 64 x 384 where LayerNormalization and Add take 28 (1.32, x86 with AVX512): a quarter of a quantised MiniLM.
ONNX's Sum of two tensors is the same arithmetic, and no fusion looks for it. ``onnxslim doctor`` times both, so a
runtime in which this no longer pays is noticed.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array


def replace_adds_with_sums(model: ir.Model) -> int:
    """Make Sums of the Adds of two float activations in front of a layer normalisation, in place; returns how many."""
    residual_adds = [node for node in model.graph.all_nodes() if _is_residual_add(node) and _is_normalized(node.outputs[0])]
    for node in residual_adds:
        node.op_type = "Sum"
    return len(residual_adds)


def _is_residual_add(node: ir.Node) -> bool:
    if node.op_type != "Add" or node.domain:
        return False
    ranks = {len(shapes.get_dims(value) or ()) for value in node.inputs}
    floats = all(value is not None and value.dtype == ir.DataType.FLOAT for value in node.inputs)
    return (
        floats and len(ranks) == 1 and ranks != {0} and not any(get_const_array(value) is not None for value in node.inputs)
    )


def _is_normalized(value: ir.Value) -> bool:
    """Whether a LayerNormalization reads ``value``, whole or in parts: x - mean(x)."""
    ops = {use.node.op_type for use in value.uses()}
    return "LayerNormalization" in ops or {"ReduceMean", "Sub"} <= ops
