"""Weights in half floats, made float32 again while the model is loaded: half the file, the same speed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.layers import LAYER_OPS
from onnxslim.quantization.log_inputs import LOG_REASON, find_log_inputs
from onnxslim.quantization.storage.narrow_constants import narrow_constants
from onnxslim.quantization.weight_only.weights import find_weight_tensors


def write_half_floats(model: ir.Model, exclude: Sequence[str] = (), *, only_halves: bool = False) -> StepReport:
    """Store the weights of ``model`` in half floats, in place, as far as those hold them.

    Args:
        model: Prepared.
        exclude: Regular expressions of layers that keep their weights.
        only_halves: Nothing in codes that a Cast or a lookup expands, for runtimes that take integers from Q/DQ alone.
    """
    layers = [node for node in find_log_inputs(model) if node.op_type in LAYER_OPS and node.name]
    exclude = (*exclude, *(re.escape(str(node.name)) for node in layers))
    weights, skipped = find_weight_tensors(model, exclude)
    report = narrow_constants(model, exclude, exact=not only_halves)
    report.skipped += skipped
    for node in layers:
        report.skip(str(node.name), LOG_REASON)
    for weight in weights:
        if weight.value.uses():
            tensor = get_const_tensor(weight.value)
            is_half = tensor is not None and tensor.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
            why = "it is in half floats as it is" if is_half else "half floats would lose too much of it, or save too little"
            report.skip(str(weight.value.name), why)
    return report
