"""Who is shown the confirm data: few, because each is a chance to pass by luck, and less and less daring.

Tune promises too much where its samples are few, so behind the best come its own milder placements and trials that are much
gentler, among them always the best that prunes nothing; then int8 weights alone, then the exact steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from onnxslim.search.candidate import ACTIVATION_SCHEMES, NARROW_SCHEMES, Candidate

#: How many finalists may be shown the confirm data.
MAX_CONFIRM_READS = 5
#: Two scores nearer than this are the same, whatever the clock says; the faster is taken then.
_SCORE_TOLERANCE = 0.02
#: What only the confirm data can clear of too large a drop has to gain so many times what passed on tune does, and what
#: drops more so many times what drops less: a few per cent are not worth a drop that was seen.
_WORTHWHILE_GAIN = 1.2
#: What a bolder placement has to gain so many times: less is what the clock leaves open, and what it loses was measured.
_BOLD_GAIN = 1.05
#: A drop that is larger by less is not told from another.
_MIN_MORE_DROP = 0.001
#: What gains so much of what failed did is as good.
_NEARLY = 0.9
#: Drops on few samples that differ by no more than this factor are alike.
_ALIKE = 1.5


class JudgedTrial(Protocol):
    """What is asked of a trial; see :class:`~onnxslim.search.trial.Trial`."""

    candidate: Candidate
    drop: float
    seen_drop: float
    least_drop: float
    score: float
    speedup: float
    confirm_drop: float | None

    @property
    def error(self) -> str | None:
        """Why it failed, or None."""

    @property
    def passes(self) -> bool:
        """Whether it meets every gate as far as the tune share and the clock can tell, uncertainty allowed for."""

    @property
    def may_pass(self) -> bool:
        """Whether it gains something, meets the gates on size and time, and drops no more than is allowed as far as was
        seen.
        """


T = TypeVar("T", bound=JudgedTrial)


def select_finalists(trials: Sequence[T]) -> list[T]:
    """Who is shown the confirm data, one after another until one passes; none where nothing is worth it.

    The best by score; after it only what is much gentler, the best that prunes nothing among them. What is pruned and passes
    only if its uncertainty is not held against it comes behind all that, the mildest first: it is taken rather than nothing.
    Last come the surest things, int8 weights and the exact steps alone.
    """
    eligible = [trial for trial in trials if trial.may_pass]
    undominated = [t for t in eligible if not any(is_dominated(t, o) or is_hardly_better(t, o) for o in eligible)]
    lossy = [trial for trial in undominated if not is_exact(trial.candidate)]
    uncertain = [trial for trial in lossy if not is_trusted(trial)]
    ranked = [*rank([t for t in lossy if t not in uncertain]), *sorted(uncertain, key=lambda t: t.drop)]
    sure = [t for t in eligible if is_weights_only(t.candidate)] + [t for t in eligible if is_exact(t.candidate)]
    slots = MAX_CONFIRM_READS - len(sure)
    chosen: list[T] = []
    for trial in ranked:
        if len(chosen) < slots and (not chosen or is_safer(trial, chosen[-1])):
            chosen.append(trial)
    unpruned = [trial for trial in ranked if not trial.candidate.pruning_ratio][:1]
    if not any(trial in chosen for trial in unpruned):
        chosen = chosen[: slots - 1] + unpruned
    return chosen + [trial for trial in sure if trial not in chosen]


def rank(trials: Sequence[T]) -> list[T]:
    """The best by score first, which counts less of what did not pass on tune; of those that no clock can tell apart the
    fastest.
    """

    def get_promise(trial: T) -> float:
        return trial.score if trial.passes else trial.score / _WORTHWHILE_GAIN

    remaining, ranked = list(trials), list[T]()
    while remaining:
        best_promise = max(map(get_promise, remaining))
        equal = [trial for trial in remaining if get_promise(trial) >= (1 - _SCORE_TOLERANCE) * best_promise]
        ranked.append(max(equal, key=lambda trial: (trial.speedup, trial.score)))
        remaining.remove(ranked[-1])
    return ranked


def predict_confirm_drop(trial: JudgedTrial, failed: Sequence[JudgedTrial]) -> float:
    """What ``trial`` is expected to drop on the confirm data, by the least that those did which ``failed`` there for what
    they dropped on tune; 0 where that tells nothing.
    """
    ratios = [t.confirm_drop / max(t.seen_drop, _MIN_MORE_DROP) for t in failed if t.confirm_drop is not None]
    return min(ratios, default=0.0) * trial.seen_drop if trial.seen_drop else 0.0


def is_worth_a_read(trial: JudgedTrial, failed: JudgedTrial, limit: float | None) -> bool:
    """Whether ``trial`` is safer than what ``failed``, and not expected to drop clearly more than ``limit`` either."""
    return is_safer(trial, failed) and (limit is None or predict_confirm_drop(trial, [failed]) <= _ALIKE * limit)


def is_hopeless(milder: JudgedTrial, failed: JudgedTrial, limit: float | None) -> bool:
    """Whether ``milder``, made of what ``failed``, lost more on tune all the same, and is expected to on confirm.

    Few samples have to prove it: one neighbor of 13 that changed makes a placement that loses less look worse, and a look at
    the confirm data costs less than what it gains.
    """
    is_worse = milder.least_drop > failed.seen_drop
    return is_worse and limit is not None and predict_confirm_drop(milder, [failed]) > _ALIKE * limit


def has_good_successor(queue: Sequence[T], failed: T, limit: float | None = None) -> bool:
    """Whether what comes next in ``queue`` is worth a read behind ``failed`` and gains nearly as much, so that nothing
    milder has to be made.
    """
    if not queue or is_sure(queue[0].candidate):
        return False
    return is_worth_a_read(queue[0], failed, limit) and queue[0].score >= _NEARLY * failed.score


def count_open_reads(queue: Sequence[JudgedTrial], reads: int) -> int:
    """How many reads of the confirm data are left for what is not the surest."""
    return MAX_CONFIRM_READS - reads - sum(is_sure(trial.candidate) for trial in queue)


def step_down(queue: Sequence[T], failed: T, milder: T, reads: int, limit: float | None = None) -> list[T]:
    """``queue`` with ``milder``, made of what ``failed``, at its head, or behind what is worth a read too and gains more and
    int8 weights that gain more; the surest and the best that prunes nothing are kept, and no more of the others than may
    still be read.
    """
    others = [t for t in queue if not is_sure(t.candidate)]
    better = list(itertools.takewhile(lambda t: is_worth_a_read(t, failed, limit) and t.score > milder.score, others))
    others.insert(len(better), milder)
    room = max(0, count_open_reads(queue, reads))
    kept, sure = others[:room], [t for t in queue if is_sure(t.candidate)]
    unpruned = next((t for t in others if not t.candidate.pruning_ratio), None)
    is_hoped_for = unpruned is not None and (limit is None or predict_confirm_drop(unpruned, [failed]) <= _ALIKE * limit)
    if room and unpruned is not None and is_hoped_for and unpruned not in kept:
        kept[-1] = unpruned
    weights = [t for t in sure if is_weights_only(t.candidate) and t.score > milder.score]
    if milder in kept and weights and (limit is None or predict_confirm_drop(weights[0], [failed]) <= limit):
        kept.insert(kept.index(milder), weights[0])
        sure.remove(weights[0])
    return kept + sure


def is_exact(candidate: Candidate) -> bool:
    """Whether it changes no answer."""
    return candidate.scheme is None and not candidate.pruning_ratio and not candidate.recovery_seconds


def is_weights_only(candidate: Candidate) -> bool:
    """Whether nothing but its weights is changed, and no more of them than the step chose by itself."""
    is_plain = not candidate.pruning_ratio and not candidate.recovery_seconds and candidate.milder >= 0
    return candidate.scheme == "weights" and is_plain


def is_sure(candidate: Candidate) -> bool:
    """Whether it is kept to fall back to, whatever else is better."""
    return is_exact(candidate) or is_weights_only(candidate)


def is_trusted(trial: JudgedTrial) -> bool:
    """Whether it may be shown the confirm data for what it gains.

    Of many shares to prune the luckiest on tune looks best, so that those have to pass with their uncertainty. What prunes
    nothing was not picked among many: that a few samples cannot prove it is no reason to take what gains less unseen.
    """
    return trial.passes or (trial.may_pass and not trial.candidate.pruning_ratio)


def is_safer(trial: JudgedTrial, other: JudgedTrial) -> bool:
    """Whether ``trial`` is gentler than ``other``, or passes on tune with its uncertainty where that does not."""
    return is_gentler(trial, other) or (trial.passes and not other.passes)


def is_gentler(trial: JudgedTrial, other: JudgedTrial) -> bool:
    """Whether ``trial`` loses less than half of what ``other`` does, has wider weights, or at most half as much pruned and
    loses about as much.

    What is allowed for the uncertainty of few samples is about the same for both, and so it is left out.
    """
    prunes_less = trial.candidate.pruning_ratio <= other.candidate.pruning_ratio / 2 < other.candidate.pruning_ratio
    return (
        trial.seen_drop < other.seen_drop / 2
        or is_wider(trial.candidate, other.candidate)
        or (prunes_less and trial.seen_drop <= max(_ALIKE * other.seen_drop, other.seen_drop + _MIN_MORE_DROP))
    )


def is_wider(candidate: Candidate, other: Candidate) -> bool:
    """Whether ``candidate`` keeps in 8 bits the weights that ``other`` has in fewer, which few samples may not show."""
    has_eight_bits = candidate.scheme in ACTIVATION_SCHEMES - NARROW_SCHEMES
    return has_eight_bits and other.scheme in NARROW_SCHEMES and candidate.pruning_ratio <= other.pruning_ratio


def is_dominated(trial: JudgedTrial, other: JudgedTrial) -> bool:
    """Whether ``trial`` need never be a finalist because ``other`` is better and no less gentle.

    What is only too uncertain is worth more than the exact steps, which are always certain.
    """
    is_better = (is_trusted(other), other.score) > (is_trusted(trial), trial.score)
    return (
        trial is not other
        and other.may_pass
        and (other.score > trial.score if is_exact(other.candidate) else is_better)
        and other.drop <= trial.drop
        and other.candidate.pruning_ratio <= trial.candidate.pruning_ratio
        and not is_wider(trial.candidate, other.candidate)
        and not is_bolder(other.candidate, trial.candidate)
    )


def is_bolder(candidate: Candidate, other: Candidate) -> bool:
    """Whether ``candidate`` is ``other`` with more of it in int8."""
    return candidate.milder < other.milder and replace(candidate, milder=other.milder) == other


def is_hardly_better(trial: JudgedTrial, other: JudgedTrial) -> bool:
    """Whether ``trial`` prunes or has more in int8, and gains too little over ``other``, which passes without, for what it
    loses on top.

    What is allowed is a limit and no aim: at least a tenth of a point more that is twice the drop has to buy a fifth. Of a
    bolder placement more answers flip than few samples show.
    """
    if other.passes and is_bolder(trial.candidate, other.candidate):
        return trial.score < _BOLD_GAIN * other.score
    return (
        other.passes
        and trial.candidate.pruning_ratio > 0
        and not other.candidate.pruning_ratio
        and trial.score < _WORTHWHILE_GAIN * other.score
        and trial.seen_drop > max(2 * other.seen_drop, other.seen_drop + _MIN_MORE_DROP)
    )


def is_needed(trial: JudgedTrial, trials: Sequence[JudgedTrial]) -> bool:
    """Whether ``trial`` may still become a finalist, so that its model has to be kept."""
    is_beaten = any(is_dominated(trial, other) for other in trials)
    return trial.may_pass and (is_sure(trial.candidate) or not is_beaten)
