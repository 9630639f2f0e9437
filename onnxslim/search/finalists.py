"""Who is shown the confirm data: few, because each is a chance to pass by luck, and less and less daring.

Tune promises too much where its samples are few, so behind the best come trials that are much gentler, and among them
always the best that prunes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from onnxslim.search.outcomes import Point

#: How many finalists may be shown the confirm data, besides the exact steps alone.
FINALISTS = 3


class Tried(Protocol):
    """What is asked of a trial; see :class:`~onnxslim.search.trial.Trial`."""

    point: Point
    drop: float
    score: float
    error: str | None

    @property
    def passes(self) -> bool:
        """Whether it meets every gate as far as the tune share and the clock can tell."""


T = TypeVar("T", bound=Tried)


def finalists(trials: Sequence[T]) -> list[T]:
    """Who is shown the confirm data, one after another until one passes.

    The best by score; after it only what is much gentler, the best that prunes nothing among them; last the surest thing,
    the first trial of all, which changes no answer and so is no further chance to pass by luck.
    """
    able = [t for t in trials if t.error is None and not any(beaten(t, other) for other in trials)]
    ranked = sorted(able, key=lambda t: (not t.passes, -t.score))
    chosen: list[T] = []
    for trial in ranked:
        if len(chosen) < FINALISTS and (not chosen or gentler(trial, chosen[-1])):
            chosen.append(trial)
    unpruned = [trial for trial in ranked if not trial.point.share][:1]
    if not any(trial in chosen for trial in unpruned):
        chosen = chosen[: FINALISTS - 1] + unpruned
    return chosen + [trial for trial in trials[:1] if trial.error is None and trial not in chosen]


def gentler(one: Tried, other: Tried) -> bool:
    """Whether ``one`` loses less than half of what ``other`` does, or has at most half as much pruned."""
    return one.drop < other.drop / 2 or one.point.share <= other.point.share / 2 < other.point.share


def beaten(one: Tried, other: Tried) -> bool:
    """Whether ``one`` need never be a finalist because ``other`` is better and no less gentle."""
    return (
        one is not other
        and other.error is None
        and (other.passes, other.score) > (one.passes, one.score)
        and other.drop <= one.drop
        and other.point.share <= one.point.share
    )
