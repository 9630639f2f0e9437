"""Which placement is written: the fastest whose outputs stay within what is allowed, along the time–loss front."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import onnx_ir as ir

from onnxslim.core.deadline import seconds_left
from onnxslim.core.errors import UnsupportedError
from onnxslim.core.step_report import StepReport
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.decision import FrontPoint
from onnxslim.quantization.evaluation.front_selection import FrontSelection, select_from_front
from onnxslim.quantization.evaluation.judge import Judge, JudgedVariant, is_harmless
from onnxslim.quantization.float_weights import Variant
from onnxslim.quantization.qdq.placement_front import Placement

#: A placement that loses no more than this share of what a metric may lose needs no milder ones beside it.
MAX_SAFE_EXCESS = 0.25
#: Of the time for a milder placement, what is left for building it once losses are known.
_MILDER_BUILD_SHARE = 0.5


class Built(Protocol):
    """A placement made real."""

    @property
    def variants(self) -> Sequence[Variant]:
        """Its models, the smallest first."""


B = TypeVar("B", bound=Built)
B_co = TypeVar("B_co", bound=Built, covariant=True)


class PlacementBuilder(Protocol[B_co]):
    """Builds the placements of one scheme."""

    def build(self, int8: frozenset[str], *, is_first: bool = True) -> B_co:
        """The units ``int8`` in int8; what is chosen for the first may be chosen anew for the others."""

    def walk_front(self, fastest: frozenset[str], reserve: float) -> list[Placement]:
        """Placements from ``fastest`` to the mildest; ``reserve`` seconds before the deadline are left."""

    def list_float_units(self, int8: frozenset[str]) -> tuple[str, ...]:
        """What a recipe has to name for ``int8`` to be built again."""


@dataclass(frozen=True)
class SelectedPlacement(Generic[B]):
    """What is written, and what it was chosen from.

    Attributes:
        built: The placement.
        variant: Which of its models.
        front: From the fastest to the mildest; empty where none was looked for.
        index: Which of them it is; None without a front.
        selection: How it was found; None where nobody judged.
        large_weights: The layers in float whose weights are not stored in int8, where those of others are.
    """

    built: B
    variant: Variant
    front: tuple[FrontPoint, ...] = ()
    index: int | None = None
    selection: FrontSelection | None = None
    large_weights: tuple[str, ...] = ()

    @property
    def back_in_float(self) -> list[str]:
        """The units that the fastest placement has in int8 and this one has not."""
        if not self.index:
            return []
        return sorted(set(self.front[self.index].float_units) - set(self.front[0].float_units))

    @property
    def reason(self) -> str | None:
        """How much went back to float, and why; None where nothing did."""
        if not self.index:
            return None
        why = "less than the fastest placement loses was asked for"
        if self.selection is not None:
            why = f"the fastest placement loses {self.selection.excesses[0]:.1f} × what is allowed"
        return f"{len(self.back_in_float)} ops went back to float: {why}"

    def describe(self, report: StepReport) -> None:
        """Tell ``report`` of the front and of what was tried."""
        if not self.front:
            return
        report.details["front"] = [
            {"float": len(point.float_units), "loss": float(f"{point.loss:.3g}"), "ms": round(point.seconds * 1e3, 4)}
            for point in self.front
        ]
        if self.selection is not None:
            tried = sorted(self.selection.excesses.items())
            report.details["front_tried"] = {str(index): float(f"{excess:.3g}") for index, excess in tried}
        if self.reason is not None:
            report.count("ops back in float", len(self.back_in_float))
            report.details["mixed"] = {"back": self.back_in_float, "why": self.reason}
            for name in self.back_in_float:
                report.skip(name, "it went back to float: in int8 the outputs would lose too much")


def select_placement(
    model: ir.Model,
    builder: PlacementBuilder[B],
    judge: Judge,
    fastest: frozenset[str],
    context: QuantizeContext,
    report: StepReport,
) -> SelectedPlacement[B]:
    """The fastest placement from ``fastest`` to the mildest that is good enough, else the one that loses least.

    Args:
        model: The float model.
        builder: Builds placements.
        judge: Judges them.
        fastest: The units in int8 to begin with.
        context: Has the deadline.
        report: Told of what was tried.
    """
    start = time.monotonic()
    built = builder.build(fastest)
    first = judge.judge(built.variants)
    seconds = time.monotonic() - start
    plain = SelectedPlacement(built, first.variant)
    if first.excess <= (MAX_SAFE_EXCESS if judge.is_drop_judged else 1.0) or seconds_left(context.deadline) < seconds:
        return plain
    if context.drop_over_limit is not None and first.excess > 1 and context.drop_over_limit(model).counted > 1:
        report.warnings.append("the model drops too much before it is quantised: nothing was put back into float")
        return plain
    with report.part("losses"):
        placements = builder.walk_front(fastest, seconds)
    if not placements:  # nothing that could go back was in int8
        return plain
    tried: dict[int, tuple[B, JudgedVariant]] = {0: (built, first)}

    def get_excesses(point: tuple[B, JudgedVariant] | None) -> tuple[float | None, float | None]:
        return (None, None) if point is None else (point[1].loss.counted, point[1].loss.least)

    def measure(index: int) -> float:
        milder = builder.build(placements[index].int8, is_first=False)
        tried[index] = milder, judge.judge(milder.variants)
        return tried[index][1].excess

    losses, costs = [point.loss for point in placements], [point.cost for point in placements]
    selection = select_from_front(losses, costs, measure, {0: first.excess}, seconds=seconds, deadline=context.deadline)
    index = selection.index
    if index is None:
        index = min(tried, key=lambda i: tried[i][1].excess)
        if judge.is_drop_judged:
            more = "" if selection.is_in_time else ", and there was no time for more"
            report.warnings.append(f"the drop stays too large with {len(tried)} of {len(placements)} placements{more}")
    # mending takes back some of what rounding costs, for one placement about as much as for another
    scale = sum(first.variant.output_errors.values()) / max(losses[0], 1e-30)
    front = tuple(
        FrontPoint(builder.list_float_units(p.int8), p.loss * scale, p.seconds, *get_excesses(tried.get(i)))
        for i, p in enumerate(placements)
    )
    return SelectedPlacement(tried[index][0], tried[index][1].variant, front, index, selection)


def select_milder_placement(
    builder: PlacementBuilder[B],
    fastest: frozenset[str],
    loss_share: float,
    context: QuantizeContext,
    report: StepReport,
) -> SelectedPlacement[B]:
    """The fastest placement that should lose at most ``loss_share`` of what ``fastest`` does; the mildest where none should.

    What stays in float keeps int8 weights only where they add next to nothing; where no placement is milder, they are what
    goes.

    Raises:
        UnsupportedError: Nothing is milder than ``fastest``.
    """
    with report.part("losses"):
        placements = builder.walk_front(fastest, _MILDER_BUILD_SHARE * seconds_left(context.deadline))
    placements = placements or [Placement(fastest, 0.0, 0.0)]
    allowed = loss_share * placements[0].loss
    index = next((i for i, point in enumerate(placements) if i and point.loss <= allowed), len(placements) - 1)
    built = builder.build(placements[index].int8, is_first=False)
    small, large = built.variants[0], built.variants[-1]
    if index == 0 and small is large:
        raise UnsupportedError("no placement that gains anything loses less", hint="fewer float units, or none given")
    variant = small if index and is_harmless(small, large) else large
    front = tuple(FrontPoint(builder.list_float_units(p.int8), p.loss, p.seconds) for p in placements)
    return SelectedPlacement(built, variant, front, index)
