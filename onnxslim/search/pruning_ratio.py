"""Along the shares to prune: the drop grows with the share, and the one at which the gate is met exactly is wanted.

By interpolation of the drops at both ends of a bracket (*regula falsi*, kept away from the ends), and by steps, or a leap to
where a drop is predicted, while there is no upper end yet. The lower end is what a cut took, which may be more than was
asked for: between the two is no other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxslim.search.candidate import CandidateResult, SearchState, passes

#: What is pruned first, how far at most, and the width of a bracket that needs no closing in.
FIRST_RATIO, MAX_RATIO, BRACKET_TOLERANCE = 0.2, 0.9, 0.04
#: A prune that makes the score no better than this many times the unpruned one's does not pay.
MIN_SCORE_GAIN = 1.01
#: What learning leaves of the drop that pruning cost, until a trial has shown it.
_DEFAULT_REMAINING_DROP = 1 / 4


def choose_next_ratio(
    results: Sequence[CandidateResult], state: SearchState, predicted: float | None = None
) -> float | None:
    """The next share to try among outcomes that differ in their share alone, or None when the line is done.

    Where nothing has failed yet it is ``predicted``, if that is further on than a first step. It is never more than is known
    to be prunable.
    """
    ratio = _choose_ratio(results, state, predicted)
    most = min((o.prunable_share for o in results if o.prunable_share is not None), default=math.inf)
    if ratio is None or ratio <= most:
        return ratio
    ratio = math.floor(100 * most) / 100
    nearest = min((abs(ratio - o.candidate.pruning_ratio) for o in results if math.isfinite(o.drop)), default=ratio)
    return ratio if min(ratio, nearest) > BRACKET_TOLERANCE else None


def _choose_ratio(results: Sequence[CandidateResult], state: SearchState, predicted: float | None) -> float | None:
    passing = sorted((o for o in results if passes(o, state)), key=lambda o: o.candidate.pruning_ratio)
    failing = sorted((o for o in results if not passes(o, state)), key=lambda o: o.candidate.pruning_ratio)
    if failing and failing[0].candidate.pruning_ratio == 0:
        return None
    if not passing:
        ratio = (failing[0].candidate.pruning_ratio if failing else 2 * FIRST_RATIO) / 2
        return ratio if ratio > BRACKET_TOLERANCE else None
    low = passing[-1]
    pruned = [o for o in passing if o.candidate.pruning_ratio]
    unpruned_score = next((o.score for o in passing if not o.candidate.pruning_ratio), 0.0)
    if len(pruned) > 1 and all(o.score <= MIN_SCORE_GAIN * unpruned_score for o in pruned):
        return None
    above = [o for o in failing if o.candidate.pruning_ratio > low.candidate.pruning_ratio]
    if not above:
        ratio = max(
            FIRST_RATIO,
            low.reach + (FIRST_RATIO if predicted is None else BRACKET_TOLERANCE),
            predicted or 0.0,
        )
        ratio = min(MAX_RATIO, round(ratio, 2))
        return ratio if ratio - low.reach > BRACKET_TOLERANCE else None
    high = above[0]
    width = high.candidate.pruning_ratio - low.reach
    if width <= BRACKET_TOLERANCE or state.max_drop is None:
        return None
    fraction = 0.5
    if math.isfinite(high.drop) and high.drop > low.drop:
        fraction = min(0.75, max(0.25, (state.max_drop - low.drop) / (high.drop - low.drop)))
    return round(low.reach + fraction * width, 2)


def predict_ratio(
    without_recovery: Sequence[CandidateResult], results: Sequence[CandidateResult], state: SearchState
) -> float | None:
    """The share whose drop learning should bring down to the limit, or None where nothing can be told.

    The drop grows with a power of the share, which two prunings tell (one is taken to be quadratic); learning leaves a part
    of it (:data:`_DEFAULT_REMAINING_DROP`, until it has been seen). Beyond what a training has shown it is half the
    way: the more goes, the less of it comes back.
    """
    unpruned_drop = min((o.drop for o in without_recovery if not o.candidate.pruning_ratio), default=0.0)
    pruned_drops = [
        (o.candidate.pruning_ratio, o.drop - unpruned_drop)
        for o in without_recovery
        if o.candidate.pruning_ratio and math.isfinite(o.drop) and o.drop > unpruned_drop
    ]
    if not pruned_drops or not state.max_drop:
        return None
    pruned_drops.sort()
    (ratio_seen, drop_seen), power = pruned_drops[-1], 2.0
    if len(pruned_drops) > 1 and pruned_drops[-2][0] < ratio_seen and pruned_drops[-2][1] < drop_seen:
        power = min(4.0, max(1.0, math.log(drop_seen / pruned_drops[-2][1]) / math.log(ratio_seen / pruned_drops[-2][0])))
    recovered = [o for o in results if o.candidate.recovery_seconds and o.candidate.pruning_ratio and math.isfinite(o.drop)]
    remaining_parts = [
        max(0.0, o.drop - unpruned_drop) / (drop_seen * (o.candidate.pruning_ratio / ratio_seen) ** power) for o in recovered
    ]
    remaining = max(0.1, min(1.0, remaining_parts[-1])) if remaining_parts else _DEFAULT_REMAINING_DROP
    allowed = max(state.max_drop - unpruned_drop, 0.0) / remaining
    ratio = ratio_seen * float((allowed / drop_seen) ** (1 / power))
    largest_shown = max((o.candidate.pruning_ratio for o in recovered), default=ratio)
    return min(ratio, (ratio + largest_shown) / 2)
