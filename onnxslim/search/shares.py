"""Along the shares to prune: the drop grows with the share, and the one at which the gate is met exactly is wanted.

By interpolation of the drops at both ends of a bracket (*regula falsi*, kept away from the ends), and by steps, or a leap to
where a drop is predicted, while there is no upper end yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxslim.search.outcomes import Outcome, Wanted, passes

#: What is pruned first, how far at most, and the width of a bracket that needs no closing in.
FIRST, MOST, CLOSE = 0.2, 0.8, 0.04
#: A prune that makes the score no better than this many times the unpruned one's does not pay.
PAYS = 1.01
#: What learning leaves of the drop that pruning cost, until a trial has shown it.
_REMAINS = 1 / 4


def along(line: Sequence[Outcome], wanted: Wanted, promise: float | None = None) -> float | None:
    """The next share to try among outcomes that differ in their share alone, or None when the line is done.

    Where nothing has failed yet it is ``promise``, if that is further on than a first step.
    """
    passing = sorted((o for o in line if passes(o, wanted)), key=lambda o: o.point.share)
    failing = sorted((o for o in line if not passes(o, wanted)), key=lambda o: o.point.share)
    if failing and failing[0].point.share == 0:
        return None
    if not passing:
        share = (failing[0].point.share if failing else 2 * FIRST) / 2
        return share if share > CLOSE else None
    low = passing[-1]
    pruned = [o for o in passing if o.point.share]
    unpruned = next((o.score for o in passing if not o.point.share), 0.0)
    if len(pruned) > 1 and all(o.score <= PAYS * unpruned for o in pruned):
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


def promised(plain: Sequence[Outcome], line: Sequence[Outcome], wanted: Wanted) -> float | None:
    """The share whose drop learning should bring down to the limit, or None where nothing can be told.

    The drop grows with a power of the share, which two prunings tell (one is taken to be quadratic); learning leaves a part
    of it (:data:`_REMAINS`, until it has been seen). Beyond what a training has shown it is half the way: the more goes, the
    less of it comes back.
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
    share = s * float((allowed / d) ** (1 / power))
    shown = max((o.point.share for o in learned), default=share)
    return min(share, (share + shown) / 2)
