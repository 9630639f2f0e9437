"""The report of a statically quantised model: what the runtime made of it, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.quantization.evaluation import fusion_report as fused
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan
from onnxslim.quantization.static.layerwise_correction import LayerCorrection
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig


def summarize(
    report: StepReport,
    result: ir.Model,
    all_units: Sequence[FusionGroup],
    plan: QuantizationPlan,
    config: SessionConfig,
    options: QuantizeOptions,
    corrections: Sequence[LayerCorrection],
) -> None:
    """Fill ``report`` with the layers of ``result`` as the runtime runs them, and the placement for a recipe."""
    fusion_report = fused.inspect_fusion(result, all_units, plan.int8, TARGETS[options.target], config)
    report.count("layers in int8", fusion_report.int8_count)
    report.count("layers in float", len(fusion_report.layers) - fusion_report.int8_count)
    report.count("quantised tensors", len(plan.tensors))
    for layer in fusion_report.layers:
        if layer.why is not None:
            report.skip(layer.name, layer.why)
    int8_capable = {unit.name for unit in all_units if unit.why_float is None}
    report.details["placement"] = {
        "how": "recorded" if options.float_units is not None else options.placement,
        "float": sorted(int8_capable - plan.int8),
    }
    errors = {layer.name: layer.error for layer in corrections}
    if report.details["mended"]["way"] == "mended":
        report.count("mended layers", len(corrections))
        report.count("layers rounded with error feedback", sum(layer.used_error_feedback for layer in corrections))
    else:
        report.skip("weights and biases", "the outputs would move further with them mended")
    report.details["layers"] = [vars(layer.with_error(errors.get(layer.name))) for layer in fusion_report.layers]
    report.details["surviving"] = [dict(vars(survivor)) for survivor in fusion_report.surviving]
    report.details["runtime_ops"] = fusion_report.ops
