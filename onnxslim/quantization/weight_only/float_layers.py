"""Weights of layers that stay in float, in int8 as far as the outputs bear it beside what int8 activations lose.

Where all of them in int8 would lose too much, some usually carry most of that loss and few of the bytes: those keep half
floats. They are found as layers are that keep float weights where nothing else is in int8.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.deadline import seconds_left
from onnxslim.core.step_report import StepReport
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.evaluation.front_selection import select_from_front
from onnxslim.quantization.evaluation.judge import Judge
from onnxslim.quantization.float_weights import MIN_SAVED_SHARE, Variant
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.placement_selection import B, SelectedPlacement
from onnxslim.quantization.weight_only.builder import WeightsBuilder
from onnxslim.quantization.weight_only.expanded import write_expanded_weights
from onnxslim.simplification.file_size import measure_bytes

#: Models that are built and judged at most, both ends among them.
_MAX_BUILDS = 5
#: The time that is kept for building models once it is known what each weight loses, in times that a model is judged.
_RESERVED_BUILDS = 3
#: The share of the file that all of them in int8 have to save, and of the time that is left what finding some may take.
_MIN_SAVED_BY_ALL, _TIME_SHARE = 0.1, 0.5


def store_some_weights(
    selected: SelectedPlacement[B],
    reference: ReferenceOutputs,
    loss_feeds: Sequence[Mapping[str, np.ndarray]],
    judge: Judge,
    *,
    context: QuantizeContext,
    options: QuantizeOptions,
    report: StepReport,
) -> SelectedPlacement[B]:
    """``selected`` with int8 weights for some layers that stay in float, where it has them for none although there is a
    variant that has them for all; unchanged where that is not so, where no time is left, or where too little is saved.

    Args:
        selected: A placement that was judged.
        reference: The float model's outputs on the samples that results are judged on.
        loss_feeds: A few samples, for what each weight loses alone.
        judge: Judges models.
        context: Where to run; has the deadline.
        options: With nothing left to choose but placement.
        report: Told of what was done.
    """
    small, large = selected.built.variants[0], selected.built.variants[-1]
    if options.float_weights != "auto" or small is large or selected.variant is not large:
        return selected
    if seconds_left(context.deadline) <= 0:  # judging both takes some, too
        return selected
    if measure_bytes(small.model) > (1 - _MIN_SAVED_BY_ALL) * measure_bytes(large.model):
        return selected
    start = time.monotonic()
    if context.deadline is not None:
        context = replace(context, deadline=start + _TIME_SHARE * seconds_left(context.deadline))
    excesses = [judge.measure_excess(variant, large) for variant in (small, large)]
    seconds = time.monotonic() - start
    if excesses[1] > 1:  # smaller weights are not what it loses by
        return selected
    allowed = max(judge.choice_share, excesses[1])
    builder = WeightsBuilder(large.model, write_expanded_weights, loss_feeds, loss_feeds, context=context, options=options)
    with report.part("float weights"):
        placements = builder.walk_front(builder.all_units, _RESERVED_BUILDS * seconds)
        if not placements:
            return selected
        known = {0: excesses[0] / allowed} | ({} if placements[-1].int8 else {len(placements) - 1: excesses[1] / allowed})
        variants: dict[int, Variant] = {}

        def measure(index: int) -> float:
            model = builder.write(placements[index].int8)
            variants[index] = Variant("int8", model, reference.merge_parts(reference.errors(model)))
            return judge.measure_excess(variants[index], large) / allowed

        selection = select_from_front(
            [point.loss for point in placements], [point.cost for point in placements], measure, known, seconds=seconds,
            deadline=context.deadline, max_builds=_MAX_BUILDS,
        )  # fmt: skip
    variant = None if selection.index is None else variants.get(selection.index)
    if variant is None or measure_bytes(variant.model) > (1 - MIN_SAVED_SHARE) * measure_bytes(large.model):
        return selected
    kept = builder.list_float_units(placements[selection.index or 0].int8)
    report.count("layers in float that keep half floats", len(kept))
    return replace(selected, variant=variant, large_weights=kept)
