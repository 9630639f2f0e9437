"""Placements between all int8 and none: a price on loss, raised step by step.

What each unit in int8 costs the outputs is added to its time at a price λ, nanoseconds for a unit of loss, and the minimum
cut is made again. Every λ gives the placement with the least time + λ · loss, conversions counted: a point that no other
beats in both, on the convex hull of the time–loss front. The sets are nested, for a cut only loses vertices of the source's
side when capacities to the sink grow (Gallo, Grigoriadis and Tarjan, A fast parametric maximum flow algorithm, 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxslim.quantization.qdq.fusion_groups import FusionGroup
from onnxslim.quantization.qdq.placement import UnitTimes, estimate_total_time, place

#: The prices that are tried, as multiples of the float model's time for the loss of all units: from where what loses the
#: most costs a thousandth of the time, to where what loses a millionth of it costs a tenth.
PRICES = tuple(float(price) for price in np.geomspace(1e-3, 1e5, 65))
#: Of the loss of one point, the most that the next has, where there are more than so many: between points that lose nearly
#: alike there is little to choose.
MAX_LOSS_LEFT, MAX_ALIKE = 0.7, 12
#: What does not promise to be this much faster than float is not worth being in int8: int8 weights alone lose less.
MIN_SPEEDUP = 1.05


@dataclass(frozen=True)
class Placement:
    """Which units run in int8.

    Attributes:
        int8: Their names.
        loss: What the outputs lose by it, the losses of its units added.
        seconds: What an inference takes by the unit times.
        weight_bytes: What the weights take in the file, where int8 is there for that and costs no time; else None.
    """

    int8: frozenset[str]
    loss: float
    seconds: float
    weight_bytes: float | None = None

    @property
    def cost(self) -> float:
        """What is wanted small: seconds, or bytes."""
        return self.seconds if self.weight_bytes is None else self.weight_bytes


def walk_front(
    units: Sequence[FusionGroup], times: UnitTimes, losses: Mapping[str, float], fastest: frozenset[str]
) -> list[Placement]:
    """``fastest`` and the placements that lose less, from there to the last that is faster than float.

    Where ``fastest`` itself is not, int8 is there for the size, and weights count for what time counts for elsewhere.

    Args:
        units: All units of the model, in order.
        times: What each takes.
        losses: What the outputs lose when a unit is int8, by name; those of independent units add up.
        fastest: Where to begin; nothing is int8 that is not int8 there.

    Returns:
        ``fastest`` and, of each size once, subsets of it that hold a layer with weights.
    """

    def make_placement(int8: frozenset[str]) -> Placement:
        loss = sum(losses.get(unit.name, 0.0) for unit in units if unit.name in int8)
        return Placement(int8, loss, estimate_total_time(units, int8, times) * 1e-9)

    allowed = [unit if unit.name in fastest else replace(unit, why_float="float is faster here") for unit in units]
    weighted = {unit.name for unit in units if unit.has_weights}
    float_time, total_loss = estimate_total_time(units, frozenset(), times), sum(losses.get(name, 0.0) for name in fastest)
    front = [make_placement(fastest)]
    is_faster = front[0].seconds * 1e9 * MIN_SPEEDUP <= float_time
    cut_times = times if is_faster else _count_weights(units, times)
    whole = sum(cut_times.floats.values())
    for price in PRICES if total_loss > 0 else ():
        scale = price * whole / total_loss
        int8 = place(allowed, cut_times, {name: scale * losses.get(name, 0.0) for name in fastest})
        point = make_placement(int8)
        if not int8 & weighted or (is_faster and point.seconds * 1e9 * MIN_SPEEDUP > float_time):
            break
        if point.loss < front[-1].loss:
            front.append(point)
    return front


def _count_weights(units: Sequence[FusionGroup], times: UnitTimes) -> UnitTimes:
    """Weights for times: what int8 saves is the bytes of each layer, and conversions cost none."""
    # a MatMul of two activations is a weighted op without weights, and cannot be int8
    weighted = {unit for unit in units if unit.has_weights and unit.why_float is None}
    floats = {unit.name: float(unit.layer.weight.size) if unit in weighted else 1.0 for unit in units}
    no_conversions = replace(times.cost_model, convert=0.0, relayout=0.0, node_overhead=0.0)
    return replace(times, floats=floats, int8=dict.fromkeys(floats, 0.0), cost_model=no_conversions)


@dataclass(frozen=True)
class IndependentGroup:
    """Layers that are int8 or float together, and convert their own inputs.

    Attributes:
        names: Theirs.
        gain: Nanoseconds that int8 saves.
        loss: What the outputs lose by it.
    """

    names: tuple[str, ...]
    gain: float
    loss: float


def rank_front(groups: Sequence[IndependentGroup], always_int8: frozenset[str], float_time: float) -> list[Placement]:
    """The front where no layer's label bears on another's time: those that lose most for what they gain go first.

    Args:
        groups: In graph order.
        always_int8: What is int8 in every placement.
        float_time: Nanoseconds with nothing in int8.

    Returns:
        All groups in int8 first; the last has one group.
    """
    ranked = sorted(groups, key=lambda group: -group.loss / max(group.gain, 1e-9))
    front = []
    for first in range(len(ranked)):
        left = ranked[first:]
        int8 = always_int8.union(*(group.names for group in left))
        seconds = (float_time - sum(group.gain for group in left)) * 1e-9
        front.append(Placement(int8, sum(group.loss for group in left), seconds))
    return front


def combine_fronts(front: Sequence[Placement], groups: Sequence[IndependentGroup]) -> list[Placement]:
    """The points of ``front`` with all of ``groups`` in int8 too, with fewer and with none, as far as no other beats them.

    Args:
        front: From the fastest to the mildest.
        groups: Layers beside it whose losses add to its.

    Returns:
        All groups beside the first of ``front`` first, then what loses less and less.
    """
    if not groups:
        return list(front)
    beside = [*rank_front(groups, frozenset(), 0.0), Placement(frozenset(), 0.0, 0.0)]
    points = [
        Placement(one.int8 | other.int8, one.loss + other.loss, one.seconds + other.seconds)
        for one in front
        for other in beside
    ]
    kept = points[:1]
    for point in sorted(points[1:], key=lambda found: (found.seconds, found.loss)):
        if point.loss < kept[-1].loss:
            kept.append(point)
    return _drop_alike(kept)


def _drop_alike(front: Sequence[Placement]) -> list[Placement]:
    """``front``, or of many points those that lose clearly less than the one before, and the last."""
    kept: list[Placement] = []
    for point in front:
        is_alike = len(front) > MAX_ALIKE and bool(kept) and point.loss > MAX_LOSS_LEFT * kept[-1].loss
        if not is_alike or point is front[-1]:
            kept.append(point)
    return kept


def remeasure_front(
    front: Sequence[Placement], measure: Callable[[frozenset[str]], float], fits: Callable[[], bool] = lambda: True
) -> list[Placement]:
    """``front`` with losses measured on the whole placements; of many without what loses about as much as the one before.

    What units lose alone adds up while errors are small and independent; where they are not, this says by how much.

    Args:
        front: From the fastest to the mildest.
        measure: What the outputs lose with these units in int8.
        fits: Asked before each whether there is time for it; the rest keep their ratios to the last that was measured.
    """
    measured: list[Placement] = []
    ratio = 1.0
    for point in _drop_alike(front):
        loss = measure(point.int8) if fits() else ratio * point.loss
        ratio = loss / max(point.loss, 1e-30)
        point = replace(point, loss=loss)
        if not measured or point.loss < measured[-1].loss:
            measured.append(point)
    return measured
