"""What to try next. A pure function of what was tried so far: no clock, no model.

The space is how much to prune × how to quantise × whether to learn back what that cost × whether layers may be put into
cheaper forms (low rank) too. What goes inside a share, and which layers stay float, the steps themselves decide by
integer programmes over measured effects and costs. The drop grows with the share, so along that axis the search closes
in on the one at which the gate is met exactly: by interpolation of the drops at both ends of the bracket (*regula falsi*,
kept away from the ends), and doubling steps while there is no upper end yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxslim.recipe import Step, step

#: What is pruned first, how far at most, and the width of a bracket that needs no closing in.
FIRST, MOST, CLOSE = 0.2, 0.8, 0.04
#: Channels that are kept are a multiple of this: int8 kernels that miss it are slower than float ones.
WIDTH = 16
#: A prune that makes the score no better than this many times the unpruned one's does not pay.
_PAYS = 1.01
#: Seconds below which learning back is not worth its set-up.
_LEAST_LEARNING = 45.0
#: Which share of the time that is left one training may take.
_LEARNING = 0.5
#: What learning leaves of the drop that pruning cost, until a trial has shown it.
_REMAINS = 1 / 3
#: What people call a way to quantise.
_NAMES = {"int8": "int8", "weights": "int8 weights"}


@dataclass(frozen=True)
class Point:
    """One thing to try.

    Attributes:
        share: Of the multiplications, or of what ``of`` says, that goes.
        quantised: ``int8``, ``weights`` (stored in int8, computed in float), or None.
        learning: Seconds of learning back; 0 for none.
        of: What ``share`` counts.
        low_rank: Whether pruning may put layers into cheaper forms.
    """

    share: float = 0.0
    quantised: str | None = "int8"
    learning: float = 0.0
    of: str = "macs"
    low_rank: bool = False

    @property
    def name(self) -> str:
        """For people."""
        parts = [f"prune {self.share:.0%}" + " with low rank" * self.low_rank] if self.share else []
        parts += ["recover"] if self.learning else []
        parts += [_NAMES[self.quantised]] if self.quantised else []
        return " + ".join(parts) or "lossless"

    def steps(self, placement: str) -> tuple[Step, ...]:
        """The recipe's steps; pruned weights are learned before they are quantised, unpruned ones after."""
        cheaper = {"low_rank": True} if self.low_rank else {}
        pruned = [step("prune", remove=self.share, of=self.of, round_to=WIDTH, **cheaper)] if self.share else []
        learned = [step("recover", seconds=self.learning)] if self.learning else []
        how = {"placement": placement} if self.quantised == "int8" else {"weights": "int8"}
        quantised = [step("quantize", **how)] if self.quantised else []
        order = [*pruned, *learned, *quantised] if self.share else [*quantised, *learned]
        return (step("simplify"), *order)


@dataclass(frozen=True)
class Outcome:
    """What came of a point.

    Attributes:
        point: What was tried.
        drop: On the tune share; infinite when it failed.
        score: What the search wants large.
        seconds: What it took.
    """

    point: Point
    drop: float
    score: float
    seconds: float


@dataclass(frozen=True)
class Wanted:
    """What the search is for.

    Attributes:
        limit: The drop that is allowed; None allows any.
        left: Seconds left.
        learning: Seconds of a full training, 0 where there can be none. One that is cut short takes a half or a quarter of
            it, so that a search that goes on later asks for what an earlier one may have done.
        of: What pruning counts.
        pruning: Seconds that pruning is predicted to take, for as long as nothing was pruned.
    """

    limit: float | None
    left: float
    learning: float = 0.0
    of: str = "macs"
    pruning: float = 0.0


def next_point(seen: Sequence[Outcome], wanted: Wanted) -> Point | None:
    """What to try after ``seen``, or None when nothing is left that fits the time and could be better."""
    point = _unpruned(seen, wanted)
    if point is not None:
        return point if not seen or _fits(seen, point, wanted) else None
    return next((point for point in _pruned(seen, wanted) if _fits(seen, point, wanted)), None)


def _unpruned(seen: Sequence[Outcome], wanted: Wanted) -> Point | None:
    """The surest first: nothing but exact steps, int8, int8 that learned to live with its rounding, int8 weights."""
    whole = Point(of=wanted.of)
    known = {outcome.point: outcome for outcome in seen}
    for point in (replace(whole, quantised=None), whole):
        if point not in known:
            return point
    if _way(seen, wanted) == "int8":
        return None
    learning = _learning(wanted)
    if learning and not any(outcome.point.learning and not outcome.point.share for outcome in seen):
        return replace(whole, learning=learning)
    weights = replace(whole, quantised="weights")
    return None if weights in known else weights


def _pruned(seen: Sequence[Outcome], wanted: Wanted) -> Iterator[Point]:
    """Along the shares, what promises most first.

    Pruning alone, until it fails; with what learning brings back, from there on; then pruning alone more closely, where
    there is no time to learn; last with cheaper forms as well.
    """
    way = _way(seen, wanted)
    like = [o for o in seen if o.point.quantised == way]
    channels = [o for o in like if not o.point.low_rank]
    plain = [o for o in channels if not o.point.learning]
    alone = _along(plain, wanted)
    learning = _learning(wanted)
    if learning and (alone is None or any(not _passes(o, wanted) for o in plain if o.point.share)):
        # what could not be pruned at all cannot be with learning either
        carried = [o for o in seen if _passes(o, wanted) or math.isinf(o.drop)]
        line = [o for o in channels if o.point.learning or o in carried]
        share = _along(line, wanted, _promise(plain, line, wanted))
        if share is not None:
            yield Point(share, way, learning, wanted.of)
    if alone is not None:
        yield Point(alone, way, 0.0, wanted.of)
    if (cheaper := _cheaper(like, wanted)) is not None:
        yield cheaper


def _promise(plain: Sequence[Outcome], line: Sequence[Outcome], wanted: Wanted) -> float | None:
    """The share whose drop learning should bring down to the limit, or None where nothing can be told.

    The drop grows with a power of the share, which two prunings tell (one is taken to be quadratic); learning leaves a part
    of it (:data:`_REMAINS`, until it has been seen).
    """
    base = min((o.drop for o in plain if not o.point.share), default=0.0)
    known = [(o.point.share, o.drop - base) for o in plain if o.point.share and math.isfinite(o.drop) and o.drop > base]
    if not known or not wanted.limit:
        return None
    known.sort()
    (s, d), power = known[-1], 2.0
    if len(known) > 1 and known[-2][0] < s and known[-2][1] < d:
        power = min(4.0, max(1.0, math.log(d / known[-2][1]) / math.log(s / known[-2][0])))
    learned = [o for o in line if o.point.learning and o.point.share and math.isfinite(o.drop)]
    parts = [max(0.0, o.drop - base) / (d * (o.point.share / s) ** power) for o in learned]
    remains = max(0.1, min(1.0, parts[-1])) if parts else _REMAINS
    allowed = max(wanted.limit - base, 0.0) / remains
    return s * float((allowed / d) ** (1 / power))


def _cheaper(like: Sequence[Outcome], wanted: Wanted) -> Point | None:
    """The best pruned point with cheaper forms among the choices; on along the shares for as long as that is better."""
    passing = [o for o in like if not o.point.low_rank and _passes(o, wanted)]
    unpruned = max((o.score for o in passing if not o.point.share), default=0.0)
    best = max(passing, key=lambda outcome: outcome.score, default=None)
    if best is None or not best.point.share or best.score <= _PAYS * unpruned:
        return None
    line = [o for o in like if o.point.low_rank]
    if not line:
        return replace(best.point, low_rank=True)
    if max((o.score for o in line if _passes(o, wanted)), default=0.0) <= best.score:
        return None
    share = _along([o for o in like if not o.point.share] + line, wanted)
    return None if share is None else replace(line[0].point, share=share)


def _way(seen: Sequence[Outcome], wanted: Wanted) -> str | None:
    """How what is pruned is quantised: in int8 if anything in int8 passes, else the weights alone, if that does."""
    passing = {outcome.point.quantised for outcome in seen if _passes(outcome, wanted)}
    return next((way for way in ("int8", "weights") if way in passing), None)


def ahead(seen: Sequence[Outcome], wanted: Wanted, count: int) -> list[Point]:
    """The next point and up to ``count - 1`` that come after it if what is before them passes, or fails.

    Nothing is decided by that: whoever has workers to spare begins with what may be wanted.
    """
    guesses, found = [list(seen)], list[Point]()
    while guesses and len(found) < count:
        history = guesses.pop(0)
        point = next_point(history, wanted)
        if point is None:
            continue
        if point not in found:
            found.append(point)
        better = 2 * max((outcome.score for outcome in history), default=1.0)
        guesses.append([*history, Outcome(point, 0.0, better, 0.0)])
        guesses.append([*history, Outcome(point, math.inf, 0.0, 0.0)])
    return found


def _along(line: Sequence[Outcome], wanted: Wanted, promise: float | None = None) -> float | None:
    """The next share to try among outcomes that differ in their share alone, or None when the line is done.

    Where nothing has failed yet it is ``promise``, if that is further on than a first step.
    """
    passing = sorted((o for o in line if _passes(o, wanted)), key=lambda o: o.point.share)
    failing = sorted((o for o in line if not _passes(o, wanted)), key=lambda o: o.point.share)
    if failing and failing[0].point.share == 0:
        return None
    if not passing:
        share = (failing[0].point.share if failing else 2 * FIRST) / 2
        return share if share > CLOSE else None
    low = passing[-1]
    pruned = [o for o in passing if o.point.share]
    unpruned = next((o.score for o in passing if not o.point.share), 0.0)
    if len(pruned) > 1 and all(o.score <= _PAYS * unpruned for o in pruned):
        return None
    above = [o for o in failing if o.point.share > low.point.share]
    if not above:
        share = max(FIRST, low.point.share + (FIRST if promise is None else CLOSE), promise or 0.0)
        share = min(MOST, round(share, 2))
        return share if share - low.point.share > CLOSE else None
    high = above[0]
    width = high.point.share - low.point.share
    if width <= CLOSE or wanted.limit is None:
        return None
    part = 0.5
    if math.isfinite(high.drop) and high.drop > low.drop:
        part = min(0.75, max(0.25, (wanted.limit - low.drop) / (high.drop - low.drop)))
    return round(low.point.share + part * width, 2)


def _passes(outcome: Outcome, wanted: Wanted) -> bool:
    return math.isfinite(outcome.drop) and (wanted.limit is None or outcome.drop <= wanted.limit)


def _learning(wanted: Wanted) -> float:
    """Seconds that the next training may take; 0 where it cannot be or is not worth it."""
    seconds = wanted.learning
    while seconds >= _LEAST_LEARNING and seconds > _LEARNING * wanted.left:
        seconds /= 2
    return float(np.floor(seconds)) if seconds >= _LEAST_LEARNING else 0.0


def _fits(seen: Sequence[Outcome], point: Point, wanted: Wanted) -> bool:
    """Whether what the like of ``point`` took before is left, with what it learns on top."""
    like = [o for o in seen if bool(o.point.share) == bool(point.share) and o.point.quantised == point.quantised]
    like = [o for o in like if o.point.low_rank == point.low_rank] or like
    took = [max(0.0, o.seconds - o.point.learning) for o in like]
    if not took:
        took = [max(o.seconds for o in seen) + (wanted.pruning if point.share else 0.0)]
    return point.learning + max(took) <= wanted.left
