"""What to try next. A pure function of what was tried so far: no clock, no model.

The space is how much to prune × how to quantise × whether to learn back what that cost × whether layers may be put into
cheaper forms (low rank) too. What goes inside a share, and which layers stay float, the steps themselves decide by
integer programmes over measured effects and costs. How far to prune, ``shares.py`` finds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from onnxslim.search.outcomes import Outcome, Point, Wanted, passes
from onnxslim.search.shares import PAYS, along, promised

#: Seconds below which learning back is not worth its set-up.
_LEAST_LEARNING = 45.0
#: Which share of the time that is left one training may take.
_LEARNING = 0.75


def next_point(seen: Sequence[Outcome], wanted: Wanted) -> Point | None:
    """What to try after ``seen``, or None when nothing is left that fits the time and could be better."""
    points = itertools.chain(_unpruned(seen, wanted), _pruned(seen, wanted))
    return next((point for point in points if not seen or _fits(seen, point, wanted)), None)


def _unpruned(seen: Sequence[Outcome], wanted: Wanted) -> Iterator[Point]:
    """The surest first: exact steps, int8; then narrower than that, or where it lost too much, int8 that learned to live
    with its rounding, and int8 weights.
    """
    exact = Point(quantised=None, of=wanted.of)
    int8, narrow, weights = (replace(exact, quantised=way) for way in ("int8", "narrow", "weights"))
    known = {outcome.point for outcome in seen}
    points = [exact, int8]
    if _way(seen, wanted) not in (None, "weights"):
        points += [narrow] if wanted.narrow else []
    elif int8 in known:
        learning = _learning(wanted)
        learned = any(outcome.point.learning and not outcome.point.share for outcome in seen)
        points += [replace(int8, learning=learning)] if learning and not learned else []
        points += [weights]
    yield from (point for point in points if point not in known)


def _pruned(seen: Sequence[Outcome], wanted: Wanted) -> Iterator[Point]:
    """Along the shares, what promises most first.

    Pruning alone, until it fails; with what learning brings back, from there on; then pruning alone more closely, where
    there is no time to learn; last with cheaper forms as well.
    """
    way = _way(seen, wanted)
    like = [o for o in seen if o.point.quantised == way]
    channels = [o for o in like if not o.point.low_rank]
    plain = [o for o in channels if not o.point.learning]
    alone = along(plain, wanted)
    learning = _learning(wanted)
    if learning and (alone is None or any(not passes(o, wanted) for o in plain if o.point.share)):
        # what could not be pruned at all cannot be with learning either
        carried = [o for o in seen if passes(o, wanted) or math.isinf(o.drop)]
        line = [o for o in channels if o.point.learning or o in carried]
        share = along(line, wanted, promised(plain, line, wanted))
        if share is not None:
            yield Point(share, way, learning, wanted.of)
    if alone is not None:
        yield Point(alone, way, 0.0, wanted.of)
    if (cheaper := _cheaper(like, wanted)) is not None:
        yield cheaper


def _cheaper(like: Sequence[Outcome], wanted: Wanted) -> Point | None:
    """The best pruned point with cheaper forms among the choices; on along the shares for as long as that is better."""
    passing = [o for o in like if not o.point.low_rank and passes(o, wanted)]
    unpruned = max((o.score for o in passing if not o.point.share), default=0.0)
    best = max(passing, key=lambda outcome: outcome.score, default=None)
    if best is None or not best.point.share or best.score <= PAYS * unpruned:
        return None
    line = [o for o in like if o.point.low_rank]
    if not line:
        return replace(best.point, low_rank=True)
    if max((o.score for o in line if passes(o, wanted)), default=0.0) <= best.score:
        return None
    share = along([o for o in like if not o.point.share] + line, wanted)
    return None if share is None else replace(line[0].point, share=share)


def _way(seen: Sequence[Outcome], wanted: Wanted) -> str | None:
    """How what is pruned is quantised: as the best that is not pruned and passes; the weights alone if nothing else does."""
    passing = [o for o in seen if passes(o, wanted) and o.point.quantised and not o.point.share]
    whole = [o for o in passing if o.point.quantised != "weights"] or passing
    return max(whole, key=lambda outcome: outcome.score).point.quantised if whole else None


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


def _learning(wanted: Wanted) -> float:
    """Seconds that the next training may take; 0 where it cannot be or is not worth it."""
    seconds = wanted.learning
    while seconds >= _LEAST_LEARNING and seconds > _LEARNING * wanted.left:
        seconds /= 2
    return float(np.floor(seconds)) if seconds >= _LEAST_LEARNING else 0.0


def _fits(seen: Sequence[Outcome], point: Point, wanted: Wanted) -> bool:
    """Whether what the like of ``point`` took before is left, with what it learns on top.

    The first pruning of a kind finds out for all what may go, and takes longer.
    """
    like = [o for o in seen if bool(o.point.share) == bool(point.share) and o.point.quantised == point.quantised]
    same = [o for o in like if o.point.low_rank == point.low_rank]
    if point.share:
        same = same[1:] or same
    took = [max(0.0, o.seconds - o.point.learning) for o in same or like]
    if not took:
        near = [o for o in seen if o.point.quantised == point.quantised] or seen
        took = [max(o.seconds for o in near) + (wanted.pruning if point.share else 0.0)]
    return point.learning + max(took) <= wanted.left
