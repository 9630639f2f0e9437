"""What is odd about a model or its calibration data, one line each, and what was done about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnxslim.graph.constants import constant
from onnxslim.quantize.encode import SMALLEST_SCALE
from onnxslim.quantize.insert import weight_axis
from onnxslim.quantize.plan import Plan, Unit
from onnxslim.quantize.statistics import Statistics

#: Below this many samples ranges are guesses.
FEW = 8


def cautions(plan: Plan, statistics: Statistics) -> Iterator[str]:
    """Warnings about calibration with too little, tensors that never change or hardly differ from zero, empty channels.

    Args:
        plan: What may be quantised.
        statistics: Of its tensors.
    """
    if statistics.samples < FEW:
        samples = "1 sample" if statistics.samples == 1 else f"{statistics.samples} samples"
        yield f"calibrated on {samples} only: ranges cover what {samples} showed; give a hundred or more"
    for names in plan.groups().values():
        low, high = min(statistics.low[n] for n in names), max(statistics.high[n] for n in names)
        if low == high:
            yield f"{names[0]} is constant on the calibration data: any scale is right for it"
        elif max(-low, high) < 255.0 * float(SMALLEST_SCALE):
            peak = max(-low, high)
            yield f"{names[0]} stays within {peak:.1g} of zero, too little for a scale in float32: it counts as zero"
    yield from _empty([unit for unit in plan.units if unit.weighted and unit.name in plan.int8])


def _empty(units: Sequence[Unit]) -> Iterator[str]:
    for unit in units:
        weight = constant(unit.anchor.inputs[1])
        if weight is None:
            continue
        axis = weight_axis(unit)
        rest = tuple(i for i in range(weight.ndim) if i != axis)
        empty = int((np.abs(weight).max(axis=rest, initial=0.0) == 0).sum())
        if empty:
            outputs = "1 output has" if empty == 1 else f"{empty} outputs have"
            yield f"{unit.name}: {outputs} weights of zero alone; they get the scale of a full range (prune removes them)"
