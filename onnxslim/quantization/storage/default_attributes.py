"""Attributes that say what a node does without them: left out of the file.

Exporters write out what the standard means by nothing (no dilation, one group, an alpha of 1), a hundred bytes for a
convolution, which in a small model are as many as its weights.

Specification: https://github.com/onnx/onnx/blob/main/docs/Operators.md
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxslim.core.step_report import StepReport

#: What the standard means by nothing along every spatial axis, which its schemas say in words.
_SPATIAL_OPS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")
_SPATIAL_DEFAULTS = {"dilations": 1, "strides": 1, "pads": 0}


def drop_default_attributes(model: ir.Model) -> StepReport:
    """Remove the attributes of standard ops that are their defaults, in place: runtimes read the nodes as before."""
    report = StepReport("attributes")
    opset = model.opset_imports.get("") or 1
    for node in model.graph.all_nodes():
        if node.domain:
            continue
        try:
            defaults = onnx.defs.get_schema(node.op_type, opset).attributes
        except onnx.defs.SchemaError:  # the runtime keeps some of its own in the standard's domain, and newer ones
            continue
        for name, attribute in list(node.attributes.items()):
            if name in defaults and not attribute.is_ref() and _is_default(node.op_type, attribute, defaults[name]):
                del node.attributes[name]
                report.count("attributes that are defaults left out")
    return report


def _is_default(op_type: str, attribute: ir.Attr, schema: onnx.defs.OpSchema.Attribute) -> bool:
    if attribute.name in _SPATIAL_DEFAULTS and op_type in _SPATIAL_OPS:
        return all(number == _SPATIAL_DEFAULTS[attribute.name] for number in attribute.as_ints())
    default = schema.default_value
    if not default.type or default.type != attribute.type.value:
        return False
    return bool(onnx.helper.get_attribute_value(default) == onnx.helper.get_attribute_value(ir.to_proto(attribute)))
