"""Equalisation statistics: taken once on data, and applied alike by runs that see other data.

Statistics are taken on the equalised model, so those of two parts of the data add up only if both runs scaled the channels
alike. They travel with the calibration cache and make the same model of the same original, bit for bit.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.step_report import StepReport
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.calibration.cache import EqualizationStatistics
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups, make_plan
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.static.cross_layer_equalization import equalize, find_equalization_groups
from onnxslim.quantization.targets.base import Target
from onnxslim.runtime.session import SessionConfig

#: Samples that the channels' statistics are taken from.
MAX_EQUALIZATION_SAMPLES = 32
#: Relative squared output error (60 dB) up to which an equalised float model counts as the same.
MAX_EXACT_ERROR = 1e-6


def equalize_copy(model: ir.Model, statistics: EqualizationStatistics, report: StepReport) -> ir.Model:
    """A copy of ``model`` whose channels are evened out by ``statistics``."""
    copy = model_file.clone(model)
    report.count("equalised streams", len(equalize(copy, statistics.channels, include_clips=statistics.include_clips)))
    return copy


def collect_equalization_statistics(
    model: ir.Model,
    target: Target,
    feeds: CalibrationFeeds,
    reference: ReferenceOutputs,
    config: SessionConfig,
    report: StepReport,
) -> EqualizationStatistics:
    """Statistics to equalise with, as far as that stays exact on samples they were not taken from.

    Args:
        model: The float model; not changed.
        target: What it is quantised for.
        feeds: The first :data:`MAX_EQUALIZATION_SAMPLES` are looked at.
        reference: Holds the float model's outputs on others.
        config: Where to run.
        report: Told when a Clip would bite.
    """
    quantized_names = make_plan(all_units := find_fusion_groups(model, target), find_int8_capable(all_units)).tensors
    names = [name for stream in find_equalization_groups(model) for name in stream.tensors if name in quantized_names]
    statistics = EqualizationStatistics(
        observe.collect_channel_statistics(model, feeds[:MAX_EQUALIZATION_SAMPLES], names, config) if names else {}
    )
    copy = model_file.clone(model)
    error = reference.error(copy) if equalize(copy, statistics.channels) else 0.0
    if error <= MAX_EXACT_ERROR:
        return statistics
    report.skip("equalisation behind Clip", f"it would bite on other samples (output error {error:.2g})")
    # without a Clip on the way every op between the layers is homogeneous, whatever the data
    return EqualizationStatistics(statistics.channels, include_clips=False)
