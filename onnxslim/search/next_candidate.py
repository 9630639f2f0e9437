"""What to try next. A pure function of what was tried so far: no clock, no model.

The space is how much to prune × how to quantise × whether to learn back what that cost × whether layers may be put into
cheaper forms (low rank) too. What goes inside a share, and which layers stay float, the steps themselves decide by
integer programmes over measured effects and costs. How far to prune, ``pruning_ratio.py`` finds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from onnxslim.search.candidate import (
    ACTIVATION_SCHEMES,
    QUANTIZATION_SCHEMES,
    Candidate,
    CandidateResult,
    SearchState,
    passes,
)
from onnxslim.search.finalists import is_weights_only
from onnxslim.search.pruning_ratio import MIN_SCORE_GAIN, choose_next_ratio, predict_ratio

#: Seconds below which learning back is not worth its set-up, and below which it waits until nothing else is left to try.
_LEAST_RECOVERY_SECONDS, _MIN_RECOVERY_SECONDS = 15.0, 45.0
#: Files whose sizes differ by less have the same layers in them; their recipes differ.
_SAME_SIZE = 1e-3
#: Which share of the time that its like took a step that quantises can do with.
_MIN_QUANTIZE_SHARE = 0.5
#: Which share of what is kept for the confirmation the surest candidate may take.
_MAX_RESERVE_SHARE = 0.5
#: Which share of the time that is left one training may take.
_MAX_RECOVERY_SHARE = 0.75


def choose_next_candidate(
    history: Sequence[CandidateResult],
    state: SearchState,
    is_known: Callable[[Candidate], bool] = lambda candidate: False,
) -> Candidate | None:
    """What to try after ``history``, or None when nothing is left that fits the time and could be better.

    What came of one that ``is_known`` takes no time, not even that of a training that there would be no time for now.
    """
    first = next(_propose(history, replace(state, seconds_left=math.inf)), None)
    if first is not None and is_known(first):
        return first
    candidates = _propose(history, state)
    return next((c for c in candidates if not history or _fits_time(history, c, state) or is_known(c)), None)


def _propose(history: Sequence[CandidateResult], state: SearchState) -> Iterator[Candidate]:
    return itertools.chain(_propose_unpruned(history, state), _propose_pruned(history, state))


def _propose_unpruned(history: Sequence[CandidateResult], state: SearchState) -> Iterator[Candidate]:
    """The cheap and sure first: exact steps, int8 weights; then int8 activations, the other kind of them where the first
    lost too much or gained no time, narrower weights or, where nothing with int8 activations passes, int8 that learned to
    live with its rounding. Of what reads tokens bits for each weight, which a drop that is allowed decides.
    """
    exact = Candidate(scheme=None, of=state.of)
    weights, int8, int4_linear = (replace(exact, scheme=scheme) for scheme in ("weights", "int8", "narrow"))
    results = {outcome.candidate: outcome for outcome in history}
    candidates = [exact, weights, int8]
    if int8 in results:
        candidates += [replace(exact, scheme=scheme) for scheme in _list_other_activations(results[int8], state)]
        best = _choose_result(history, state, ACTIVATION_SCHEMES)
        if best is None:
            recovery_seconds = _choose_recovery_seconds(state, _MIN_RECOVERY_SECONDS)
            has_recovered = any(o.candidate.recovery_seconds and not o.candidate.pruning_ratio for o in history)
            can_recover = recovery_seconds and not has_recovered
            candidates += [replace(int8, recovery_seconds=recovery_seconds)] if can_recover else []
        elif state.has_int4_layers and best.activations != "dynamic":
            candidates += [int4_linear]
        candidates += [replace(exact, scheme="mixed")] if state.has_mixed_weights and state.max_drop is not None else []
    yield from (point for point in candidates if point not in results)


def _list_other_activations(int8: CandidateResult, state: SearchState) -> list[str]:
    """The scheme that the quantize step did not choose by itself, where what it chose leaves something to be wished."""
    if passes(int8, state) and int8.gains_time and not int8.gave_way:
        return []
    if int8.activations == "dynamic":
        return ["static"]
    return ["dynamic"] if int8.activations == "static" and state.has_dynamic_layers else []


def _propose_pruned(history: Sequence[CandidateResult], state: SearchState) -> Iterator[Candidate]:
    """Along the shares, what promises most first.

    Where int8 activations gain no time any more because little is left to multiply, int8 weights from there on. Pruning
    alone, until it fails; with what learning brings back, from there on; then pruning alone more closely, where
    there is no time to learn; then with cheaper forms as well. A short training comes after all that.
    """
    if not state.can_prune:
        return
    scheme = _choose_scheme(history, state)
    # a placement bolder than the step's own drops too much as far as tune can tell, and says nothing of pruning
    same_scheme = [o for o in history if o.candidate.scheme == scheme and not o.candidate.milder]
    full_rank = [o for o in same_scheme if not o.candidate.low_rank]
    without_recovery = [o for o in full_rank if not o.candidate.recovery_seconds]
    ratio_weights = _choose_weights_ratio(history, without_recovery, state)
    if ratio_weights is not None:
        yield Candidate(ratio_weights, "weights", 0.0, state.of)
    ratio_alone = choose_next_ratio(without_recovery, state)
    recovery_seconds, learned = _choose_recovery_seconds(state, _LEAST_RECOVERY_SECONDS), list[Candidate]()
    if recovery_seconds and (
        ratio_alone is None or any(not passes(o, state) for o in without_recovery if o.candidate.pruning_ratio)
    ):
        # what could not be pruned at all cannot be with learning either
        recoverable = [o for o in history if passes(o, state) or math.isinf(o.drop)]
        with_recovery = [o for o in full_rank if o.candidate.recovery_seconds or o in recoverable]
        ratio = choose_next_ratio(with_recovery, state, predict_ratio(without_recovery, with_recovery, state))
        learned = [] if ratio is None else [Candidate(ratio, scheme, recovery_seconds, state.of)]
    waits = recovery_seconds < _MIN_RECOVERY_SECONDS
    yield from [] if waits else learned
    if ratio_alone is not None:
        yield Candidate(ratio_alone, scheme, 0.0, state.of)
    if (low_rank := _propose_low_rank(same_scheme, state)) is not None:
        yield low_rank
    yield from learned if waits else []


def _choose_weights_ratio(
    history: Sequence[CandidateResult], without_recovery: Sequence[CandidateResult], state: SearchState
) -> float | None:
    """The next share to prune for int8 weights alone, where pruned models gained no time by int8 activations; else None.

    ``without_recovery``, of int8 activations, is where it begins: weights alone lose no more.
    """
    slow = [o.candidate.pruning_ratio for o in without_recovery if o.candidate.pruning_ratio and not o.gains_by_scheme]
    if not slow or without_recovery[0].candidate.scheme not in ACTIVATION_SCHEMES:
        return None
    tried = [
        o for o in history if o.candidate == replace(o.candidate, scheme="weights", recovery_seconds=0.0, low_rank=False)
    ]
    tried = [o for o in tried if o.candidate.pruning_ratio]
    if any(not o.gains_by_scheme for o in tried):  # it is the pruning that cannot be done
        return None
    begin = [o for o in without_recovery if passes(o, state) and o.candidate.pruning_ratio < min(slow)]
    return choose_next_ratio([*begin, *tried], state, None if tried else min(slow))


def _propose_low_rank(same_scheme: Sequence[CandidateResult], state: SearchState) -> Candidate | None:
    """The best pruned point with cheaper forms among the choices; on along the shares for as long as that is better."""
    passing = [o for o in same_scheme if not o.candidate.low_rank and passes(o, state)]
    unpruned_score = max((o.score for o in passing if not o.candidate.pruning_ratio), default=0.0)
    best = max(passing, key=lambda outcome: outcome.score, default=None)
    if best is None or not best.candidate.pruning_ratio or best.score <= MIN_SCORE_GAIN * unpruned_score:
        return None
    low_rank_results = [o for o in same_scheme if o.candidate.low_rank]
    if not low_rank_results:
        return replace(best.candidate, low_rank=True)
    first = low_rank_results[0]
    twin = next((o for o in same_scheme if o.candidate == replace(first.candidate, low_rank=False)), None)
    if twin is not None and abs(first.shrinkage / twin.shrinkage - 1) < _SAME_SIZE:
        return None  # no layer has a cheaper form that pays, and the same cut is no news at any share
    if max((o.score for o in low_rank_results if passes(o, state)), default=0.0) <= best.score:
        return None
    ratio = choose_next_ratio([o for o in same_scheme if not o.candidate.pruning_ratio] + low_rank_results, state)
    return None if ratio is None else replace(low_rank_results[0].candidate, pruning_ratio=ratio)


def _choose_scheme(history: Sequence[CandidateResult], state: SearchState) -> str | None:
    """How what is pruned is quantised: as the best that is not pruned, passes and gains something. Choosing bits anew for
    each share would take all the time.
    """
    best = _choose_result(history, state, frozenset(QUANTIZATION_SCHEMES) - {"mixed"})
    return None if best is None else best.candidate.scheme


def _choose_result(
    history: Sequence[CandidateResult], state: SearchState, schemes: frozenset[str]
) -> CandidateResult | None:
    """The best of ``schemes`` that is not pruned, passes and gains something."""
    passing = [o for o in history if o.candidate.scheme in schemes and not o.candidate.pruning_ratio]
    passing = [o for o in passing if passes(o, state) and o.gains]
    return max(passing, key=lambda outcome: outcome.score, default=None)


def predict_candidates(results: Sequence[CandidateResult], state: SearchState, count: int) -> list[Candidate]:
    """The next point and up to ``count - 1`` that come after it if what is before them passes, or fails.

    Nothing is decided by that: whoever has workers to spare begins with what may be wanted.
    """
    branches, candidates = [list(results)], list[Candidate]()
    while branches and len(candidates) < count:
        branch = branches.pop(0)
        candidate = choose_next_candidate(branch, state)
        if candidate is None:
            continue
        if candidate not in candidates:
            candidates.append(candidate)
        assumed_score = 2 * max((outcome.score for outcome in branch), default=1.0)
        branches.append([*branch, CandidateResult(candidate, 0.0, assumed_score, 0.0)])
        branches.append([*branch, CandidateResult(candidate, math.inf, 0.0, 0.0)])
    return candidates


def _choose_recovery_seconds(state: SearchState, least: float) -> float:
    """Seconds that the next training may take; 0 where it cannot be or is not worth it."""
    seconds = state.recovery_seconds
    while seconds >= least and seconds > _MAX_RECOVERY_SHARE * state.seconds_left:
        seconds /= 2
    return float(np.floor(seconds)) if seconds >= least else 0.0


def _fits_time(history: Sequence[CandidateResult], candidate: Candidate, state: SearchState) -> bool:
    """Whether what the like of ``candidate`` took before is left, with what it learns on top.

    The first pruning of a kind finds out for all what may go, which those after it need not do again. Steps that only
    quantise end with their time and leave out what only makes them better, so that half of it will do, and so do they behind
    a pruning. What is fallen back to may take half of what is kept for the confirmation: without it there may be nothing to
    confirm.
    """
    judging = max(o.judging_seconds for o in history)
    if is_weights_only(candidate):
        return judging <= state.seconds_left + _MAX_RESERVE_SHARE * state.reserved_seconds
    same_kind = [
        o
        for o in history
        if bool(o.candidate.pruning_ratio) == bool(candidate.pruning_ratio) and o.candidate.scheme == candidate.scheme
    ]
    same_rank = [o for o in same_kind if o.candidate.low_rank == candidate.low_rank]
    step_seconds = [
        max(o.judging_seconds, o.seconds - o.survey_seconds - o.candidate.recovery_seconds) for o in same_rank or same_kind
    ]
    is_first = not step_seconds
    if is_first:
        step_seconds = [o.seconds for o in history if o.candidate.scheme == candidate.scheme] or [o.seconds for o in history]
    needed = max(step_seconds)
    if not candidate.recovery_seconds and (is_first or not candidate.pruning_ratio):
        needed = judging + _MIN_QUANTIZE_SHARE * max(0.0, needed - judging)
    if is_first and candidate.pruning_ratio:
        needed += state.pruning_seconds
    return candidate.recovery_seconds + needed <= state.seconds_left
