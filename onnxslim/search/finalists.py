"""Who is shown the confirm data: few, because each is a chance to pass by luck, and less and less daring.

Tune promises too much where its samples are few, so behind the best come trials that are much gentler, and among them
always the best that prunes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from onnxslim.search.candidate import Candidate

#: How many finalists may be shown the confirm data, besides the exact steps alone.
MAX_FINALISTS = 3


class JudgedTrial(Protocol):
    """What is asked of a trial; see :class:`~onnxslim.search.trial.Trial`."""

    candidate: Candidate
    drop: float
    score: float

    @property
    def error(self) -> str | None:
        """Why it failed, or None."""

    @property
    def passes(self) -> bool:
        """Whether it meets every gate as far as the tune share and the clock can tell."""


T = TypeVar("T", bound=JudgedTrial)


def select_finalists(trials: Sequence[T]) -> list[T]:
    """Who is shown the confirm data, one after another until one passes.

    The best by score; after it only what is much gentler, the best that prunes nothing among them; last the surest thing,
    the first trial of all, which changes no answer and so is no further chance to pass by luck.
    """
    undominated = [t for t in trials if t.error is None and not any(is_dominated(t, other) for other in trials)]
    ranked = sorted(undominated, key=lambda t: (not t.passes, -t.score))
    chosen: list[T] = []
    for trial in ranked:
        if len(chosen) < MAX_FINALISTS and (not chosen or is_gentler(trial, chosen[-1])):
            chosen.append(trial)
    unpruned = [trial for trial in ranked if not trial.candidate.pruning_ratio][:1]
    if not any(trial in chosen for trial in unpruned):
        chosen = chosen[: MAX_FINALISTS - 1] + unpruned
    return chosen + [trial for trial in trials[:1] if trial.error is None and trial not in chosen]


def is_gentler(trial: JudgedTrial, other: JudgedTrial) -> bool:
    """Whether ``trial`` loses less than half of what ``other`` does, or has at most half as much pruned."""
    return (
        trial.drop < other.drop / 2
        or trial.candidate.pruning_ratio <= other.candidate.pruning_ratio / 2 < other.candidate.pruning_ratio
    )


def is_dominated(trial: JudgedTrial, other: JudgedTrial) -> bool:
    """Whether ``trial`` need never be a finalist because ``other`` is better and no less gentle."""
    return (
        trial is not other
        and other.error is None
        and (other.passes, other.score) > (trial.passes, trial.score)
        and other.drop <= trial.drop
        and other.candidate.pruning_ratio <= trial.candidate.pruning_ratio
    )
