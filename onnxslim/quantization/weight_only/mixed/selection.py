"""Which point of the front of bytes and loss is taken: for a size, or the smallest whose outputs are good enough."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import GateError
from onnxslim.core.step_report import StepReport
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.evaluation.front_selection import select_from_front
from onnxslim.quantization.evaluation.judge import Judge
from onnxslim.quantization.finishing import finish
from onnxslim.quantization.float_weights import Variant
from onnxslim.quantization.numerics.bit_allocation import Allocation, pick_within
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.compact_names import list_names
from onnxslim.quantization.sqnr_floor import build_sqnr_error
from onnxslim.quantization.weight_only.mixed.builder import MixedBuilder
from onnxslim.quantization.weight_only.mixed.choice import write_choice
from onnxslim.simplification.file_size import measure_bytes

#: Bytes that a recipe takes in the file besides what it says of each weight.
RECIPE_BYTES = 1000
#: How often a size is measured at most until the largest point that is small enough is found.
MAX_SKETCHES = 6
#: Of the loss of one point that is judged, the most that the next has.
MAX_LOSS_LEFT = 0.7
#: Samples that outputs are judged on by their SQNR.
MAX_EVALUATION_SAMPLES = 32

#: A format by weight.
Chosen = Mapping[str, str]


class SizeMeter:
    """How large the file of a choice becomes.

    Args:
        model: The float model.
        builder: Sketches models.
        options: Of the step.
    """

    def __init__(self, model: ir.Model, builder: MixedBuilder, options: QuantizeOptions) -> None:
        self._known_names, self._builder, self._options = list_names(model), builder, options

    def measure(self, chosen: Chosen) -> int:
        """Bytes, with the recipe that the file carries, as far as a sketch tells."""
        model = self._builder.sketch(chosen)
        finish(model, self._known_names, self._options, "weights")
        return measure_bytes(model) + RECIPE_BYTES + len(json.dumps(write_choice(chosen)))


def select_by_size(front: Sequence[Allocation], max_bytes: int, measure: Callable[[int], int]) -> int:
    """The last point of ``front`` whose file takes at most ``max_bytes``, as far as few measurements tell.

    Args:
        front: From the fewest bytes to the least loss.
        max_bytes: Of the file.
        measure: The file's bytes at a point.

    Raises:
        GateError: Not even the first does.
    """
    index = 0
    smallest = nbytes = measure(index)
    if smallest > max_bytes:
        raise GateError(
            f"--max-size {max_bytes}: the smallest that the formats of this runtime reach is {smallest} bytes",
            hint=f"--max-size {smallest}, or prune first, which takes away what is stored",
        )
    best = 0
    for _ in range(MAX_SKETCHES):
        # what the file holds besides differs little from point to point
        candidate = pick_within(front, max_bytes - nbytes + front[index].nbytes)
        if candidate is None or candidate == index or candidate <= best:
            break
        index = candidate
        nbytes = measure(index)
        best = index if nbytes <= max_bytes else best
    return best


def select_by_loss(
    model: ir.Model,
    front: Sequence[Allocation],
    build: Callable[[int], ir.Model],
    context: QuantizeContext,
    options: QuantizeOptions,
    report: StepReport,
) -> int:
    """The smallest point of ``front`` that loses no more than is allowed; the mildest where none does.

    Args:
        model: The float model.
        front: From the fewest bytes to the least loss.
        build: The model of a point.
        context: Has the judge of drops, or none.
        options: Say which SQNR is asked for.
        report: Told what was tried.

    Raises:
        GateError: None keeps the SQNR that is asked for.
    """
    judge, errors = Judge(context, options), dict[int, dict[str, float]]()
    allowed = judge.choice_share
    feeds = CalibrationFeeds(context.require_samples("--weights mixed"))
    asks_sqnr = options.min_sqnr is not None or not judge.is_drop_judged
    reference = ReferenceOutputs(model, feeds.last(MAX_EVALUATION_SAMPLES), context.config) if asks_sqnr else None
    points = thin_front(front)

    def measure(place: int) -> float:
        built = build(points[place])
        errors[place] = {} if reference is None else reference.merge_parts(reference.errors(built))
        return judge.judge([Variant(None, built, errors[place])]).excess / allowed

    start = time.monotonic()
    known = {0: measure(0)}
    selection = select_from_front(
        [front[point].loss for point in points], [front[point].nbytes for point in points], measure, known,
        seconds=time.monotonic() - start, deadline=context.deadline,
    )  # fmt: skip
    report.details["front_tried"] = {
        str(round(front[points[place]].nbytes)): float(f"{allowed * excess:.3g}")
        for place, excess in selection.excesses.items()
    }
    if selection.index is not None:
        return points[selection.index]
    best = min(selection.excesses, key=selection.excesses.__getitem__)
    if allowed * selection.excesses[best] <= 1:
        return points[best]
    tried = f"{len(selection.excesses)} of {len(points)} choices of formats"
    if not judge.is_drop_judged:
        raise build_sqnr_error(errors[best], options, form="--weights mixed", tried=f"the best of {tried}")
    report.warnings.append(f"the drop stays too large with {tried}")
    return points[best]


def thin_front(front: Sequence[Allocation]) -> list[int]:
    """The first point, those that lose clearly less than the one before, and the last."""
    kept = [0]
    for index, point in enumerate(front):
        if point.loss <= MAX_LOSS_LEFT * front[kept[-1]].loss:
            kept.append(index)
    return kept if kept[-1] == len(front) - 1 else [*kept, len(front) - 1]
