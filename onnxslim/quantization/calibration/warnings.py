"""Calibration warnings: what is odd about a model or its calibration data, and what was done about it, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.stored_weights.grids import MIN_SCALE
from onnxslim.quantization.calibration.histograms import Statistics
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan

#: Below this many samples ranges are guesses.
MIN_CALIBRATION_SAMPLES = 8


def find_calibration_warnings(plan: QuantizationPlan, statistics: Statistics, run_size: int = 1) -> Iterator[str]:
    """Warnings about calibration with too little, tensors that never change or hardly differ from zero, empty channels.

    Args:
        plan: What may be quantised.
        statistics: Of its tensors.
        run_size: Samples in each run that was observed: the batch of a model that fixes it.
    """
    count = statistics.sample_count * run_size
    if count < MIN_CALIBRATION_SAMPLES:
        samples = "1 sample" if count == 1 else f"{count} samples"
        yield f"calibrated on {samples} only: ranges cover what {samples} showed; give a hundred or more"
    if unseen := statistics.count_unseen():
        verb = "has" if unseen == 1 else "have"
        yield f"{unseen} of {statistics.sample_count} calibration samples {verb} no finite output: ranges are of the others"
    for names in plan.list_tensor_groups().values():
        low, high = min(statistics.low[n] for n in names), max(statistics.high[n] for n in names)
        if low == high:
            yield f"{names[0]} is constant on the calibration data: any scale is right for it"
        elif max(-low, high) < 255.0 * float(MIN_SCALE):
            peak = max(-low, high)
            yield f"{names[0]} stays within {peak:.1g} of zero, too little for a scale in float32: it counts as zero"
    yield from _find_empty_channels([unit for unit in plan.units if unit.has_weights and unit.name in plan.int8])


def _find_empty_channels(units: Sequence[FusionGroup]) -> Iterator[str]:
    for unit in units:
        weight = get_const_array(unit.anchor.inputs[1])
        if weight is None:
            continue
        axis = unit.layer.output_axis
        reduced_axes = tuple(i for i in range(weight.ndim) if i != axis)
        empty_count = int((np.abs(weight).max(axis=reduced_axes, initial=0.0) == 0).sum())
        if empty_count:
            outputs = "1 output has" if empty_count == 1 else f"{empty_count} outputs have"
            yield f"{unit.name}: {outputs} weights of zero alone; they get the scale of a full range (prune removes them)"
