"""The report of a statically quantised model: what the runtime made of it, layer by layer."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.evaluation.fusion_report import inspect_fusion
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.static.builder import BuiltPlacement
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig


def summarize(
    model: ir.Model, built: BuiltPlacement, config: SessionConfig, options: QuantizeOptions, report: StepReport
) -> QuantizeDecision:
    """Tell ``report`` how the runtime runs ``model``, one of ``built``; the layers, and the placement for a recipe."""
    all_units, plan, corrected = built.units, built.plan, built.corrected
    fusion_report = inspect_fusion(model, all_units, plan.int8, TARGETS[options.target], config)
    fusion_report.summarize(report)
    report.count("quantised tensors", len(plan.tensors))
    report.details["placement"] = {
        "how": "recorded" if options.float_units is not None else options.placement, "float": list(built.float_units)
    }  # fmt: skip
    if corrected.is_mended:
        report.count("mended layers", len(corrected.corrections))
        report.count("layers rounded with error feedback", sum(layer.used_error_feedback for layer in corrected.corrections))
    else:
        report.skip("weights and biases", "the outputs would move further with them mended")
    errors = {layer.name: layer.error for layer in corrected.corrections}
    layers = [layer.with_error(errors.get(layer.name)) for layer in fusion_report.layers]
    report.details["layers"] = [vars(layer) for layer in layers]
    report.details["surviving"] = [dict(vars(survivor)) for survivor in fusion_report.surviving]
    report.details["runtime_ops"] = fusion_report.ops
    return QuantizeDecision(
        "static", options.target, float_units=built.float_units, layers=layers, surviving=fusion_report.surviving
    )
