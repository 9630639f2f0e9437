"""What comes behind any scheme: what the file holds besides codes in as few bytes as it needs."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.quantization.evaluation.saturating_layers import report_room
from onnxslim.quantization.options import ACTIVATION_MODES, QuantizeOptions
from onnxslim.quantization.qdq.compact_names import compact
from onnxslim.quantization.storage.default_attributes import drop_default_attributes
from onnxslim.quantization.storage.narrow_constants import narrow_constants
from onnxslim.quantization.storage.norm_statistics import fold_norm_statistics
from onnxslim.quantization.targets.registry import TARGETS


def finish(model: ir.Model, known_names: Collection[str], options: QuantizeOptions, scheme: str) -> StepReport:
    """Narrow constants, drop defaults and shorten names, in place.

    Args:
        model: Quantised by ``scheme``.
        known_names: Those that the float model has.
        options: Of the step.
        scheme: A key of :data:`~onnxslim.quantization.scheme_selection.SCHEMES`.
    """
    report = StepReport("finish")
    if scheme != "float16" and TARGETS[options.target].no_contrib_ops_reason is None:
        report.add(fold_norm_statistics(model))
        halves = options.float_weights != "float32" and options.weights != "float16"  # which has chosen its own
        report.add(narrow_constants(model, options.exclude, halves=halves))
    if scheme in ACTIVATION_MODES and TARGETS[options.target].saturating_pairs:
        report.add(report_room(model))
    drop_default_attributes(model)
    # casts to float16 and back are few, and what is float16 is what its readers look for
    compact(model, None if scheme == "float16" else known_names)
    return report
