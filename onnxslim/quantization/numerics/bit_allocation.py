"""Which storage each weight gets, by what it loses for the bytes that it saves; arrays in, arrays out.

The choices of one weight that no other beats for any price λ of a byte lie on the lower convex hull of its points (bytes,
loss). Losses of independent roundings add up, so at a price λ every weight takes by itself the choice with the least
loss + λ · bytes (Everett, Generalized Lagrange multiplier method, 1963). As λ falls, weights step along their hulls in the
order of the loss that a byte takes away; every step is a point of the front of bytes and loss.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Allocation:
    """A choice for each weight.

    Attributes:
        choices: Which of its choices each takes.
        nbytes: Their bytes in all.
        loss: Their losses in all.
    """

    choices: tuple[int, ...]
    nbytes: float
    loss: float


def walk_allocations(weight_bytes: Sequence[np.ndarray], losses: Sequence[np.ndarray]) -> list[Allocation]:
    """The front from the fewest bytes to the least loss, one step of one weight from point to point.

    Args:
        weight_bytes: Of each weight the bytes of its choices, float64 (c,).
        losses: What the outputs lose by them, float64 (c,), finite.
    """
    hulls = [find_hull(sizes, lost) for sizes, lost in zip(weight_bytes, losses, strict=True)]
    choices = [hull[0] for hull in hulls]
    nbytes = float(sum(sizes[choice] for sizes, choice in zip(weight_bytes, choices, strict=True)))
    loss = float(sum(lost[choice] for lost, choice in zip(losses, choices, strict=True)))
    front = [Allocation(tuple(choices), nbytes, loss)]

    def rate_step(weight: int, place: int) -> tuple[float, int, int]:
        """The loss that a byte takes away, negative, of the step of ``weight`` to a place of its hull."""
        before, after = hulls[weight][place - 1], hulls[weight][place]
        gained = losses[weight][before] - losses[weight][after]
        return -float(gained / (weight_bytes[weight][after] - weight_bytes[weight][before])), weight, place

    # along a hull the gain of a byte falls, so that the next step of each weight is all that has to be compared
    pending = [rate_step(weight, 1) for weight, hull in enumerate(hulls) if len(hull) > 1]
    heapq.heapify(pending)
    while pending:
        _, weight, place = heapq.heappop(pending)
        before, after = choices[weight], hulls[weight][place]
        choices[weight] = after
        nbytes += float(weight_bytes[weight][after] - weight_bytes[weight][before])
        loss += float(losses[weight][after] - losses[weight][before])
        front.append(Allocation(tuple(choices), nbytes, max(loss, 0.0)))
        if place + 1 < len(hulls[weight]):
            heapq.heappush(pending, rate_step(weight, place + 1))
    return front


def find_hull(nbytes: np.ndarray, loss: np.ndarray) -> list[int]:
    """The choices on the lower convex hull, from the fewest bytes (of those the least loss) to the least loss."""
    hull: list[int] = []
    for choice in np.lexsort((loss, nbytes)).tolist():
        if hull and loss[choice] >= loss[hull[-1]]:
            continue
        while len(hull) > 1 and _is_above(nbytes, loss, hull[-2], hull[-1], choice):
            hull.pop()
        hull.append(choice)
    return hull


def _is_above(nbytes: np.ndarray, loss: np.ndarray, first: int, middle: int, last: int) -> bool:
    """Whether ``middle`` lies on or above the line from ``first`` to ``last``."""
    along = (loss[first] - loss[middle]) * (nbytes[last] - nbytes[first])
    return bool(along <= (loss[first] - loss[last]) * (nbytes[middle] - nbytes[first]))


def pick_within(front: Sequence[Allocation], max_bytes: float) -> int | None:
    """The last point of ``front`` that takes at most ``max_bytes``; None where none does."""
    return next((index for index in reversed(range(len(front))) if front[index].nbytes <= max_bytes), None)
