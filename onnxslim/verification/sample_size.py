"""How many samples a gate on a drop needs, from a pilot, and what an interval then says of the limit.

A gate that tells a model that lost nothing from one that lost half as much again as is allowed has to see half of the limit.
The interval of the drop narrows with the square root of the number of samples, whatever the metric, so that of a few
samples tells how many it takes: a two-stage design, as Stein's (Annals of Mathematical Statistics 16, 1945), whose first
stage looks at the spread and whose second is judged once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from onnxslim.core.quantities import is_in_units
from onnxslim.validation.metrics.accumulator import TOP1_POINT, MetricResult
from onnxslim.verification.check import Check, Verdict

#: The regression that must be told from the limit, as a share of it.
CAUGHT_EXCESS = 0.5
#: How many half-widths of a 95 % interval the distance to the limit must be: with two, one drop in forty goes unseen.
_HALF_WIDTHS = 2.0
#: Fewer samples are never a stage of their own; of more, the pilot is at most so large a share.
MIN_PILOT, _PILOT_SHARE = 128, 0.25
#: The pilot, what it asks for, and what that asks for.
MAX_STAGES = 3
#: Of a metric that counts answers the pilot should see some that changed: a limit of 1 % asks for so many hundreds.
_ANSWERS_TO_SEE = 9.0

Judged = TypeVar("Judged")


@dataclass(frozen=True)
class SamplePlan:
    """How many samples a gate needs, and how many it gets.

    Attributes:
        pilot: Samples that the number was found on.
        needed: Enough to tell the limit from a drop of nothing and from one of half as much again; None where none would
            be, as of a limit of zero.
        given: Samples there are.
        used: Samples that are judged: what is needed, or all there are.
    """

    pilot: int
    needed: int | None
    given: int
    used: int

    def describe(self, limit: str) -> str:
        """A line for people; ``limit`` is the drop that is allowed."""
        there_are = f"there are {self.given}" + (f", {self.used} are judged" if self.used < self.given else "")
        if self.needed is None:
            return f"no number of samples is sure to decide on a drop of {limit} (by {self.pilot} of them); {there_are}"
        fewer = "" if self.needed <= self.given else ", fewer where a drop is plainly within or beyond it"
        return (
            f"about {self.needed} samples decide on a drop of {limit} between any two models that differ as much from "
            f"sample to sample as these do on {self.pilot} of them{fewer}; {there_are}"
        )


def choose_pilot_size(total: int, limit: float) -> int:
    """Of how many of ``total`` samples the number that a drop of ``limit`` needs is found."""
    if total <= MIN_PILOT:
        return total
    share = TOP1_POINT if is_in_units(limit) or limit <= 0 else limit
    return min(total, max(MIN_PILOT, min(round(_PILOT_SHARE * total), math.ceil(min(total, _ANSWERS_TO_SEE / share)))))


def count_samples_needed(metric: MetricResult, limit: float) -> int | None:
    """About how many samples put a drop of nothing, and one of half as much again as ``limit``, on their sides of it.

    Where the pilot's whole interval lies farther from the limit than that half, its near end is what must be told from it.

    Args:
        metric: Of the pilot.
        limit: The drop that is allowed, as :meth:`.MetricResult.get_own_limit` reads it.

    Returns:
        At least the pilot's; None where no number would do, or nothing has an interval.
    """
    own_limit = metric.get_own_limit(limit)
    if metric.drop is None or metric.interval is None or not all(map(math.isfinite, (metric.drop, *metric.interval))):
        return None
    low, high = metric.interval
    half_width = max(high - metric.drop, metric.drop - low)
    distance = max(CAUGHT_EXCESS * own_limit, low - own_limit, own_limit - high)
    if half_width <= 0:
        return metric.n
    if distance <= 0:
        return None
    return max(metric.n, math.ceil(metric.n * (_HALF_WIDTHS * half_width / distance) ** 2))


def judge_in_stages(
    measure: Callable[[int], Judged],
    get_gating: Callable[[Judged], Sequence[MetricResult]],
    total: int,
    limit: float,
    *,
    announce: Callable[[SamplePlan, Judged], None] = lambda plan, pilot: None,
    stages: int = MAX_STAGES,
) -> tuple[SamplePlan, Judged]:
    """Measure a pilot, tell how many samples are needed, and measure so many of what there is.

    A pilot may have seen few of the rare answers that change, so that what was measured is asked once more whether it was
    enough; only its spread, not its verdict, makes it longer.

    Args:
        measure: What so many samples show; called a few times at most.
        get_gating: The metrics of that which gate.
        total: Samples there are.
        limit: The drop that is allowed.
        announce: Told the plan and the pilot before the second stage.
        stages: At most so many; after one there is the plan, and the pilot.
    """
    pilot_size = choose_pilot_size(total, limit)
    found = measure(pilot_size)
    plan = plan_samples(get_gating(found), pilot_size, total, limit)
    announce(plan, found)
    done = pilot_size
    for _ in range(stages - 1):
        if plan.used == done:
            break
        found, done = measure(plan.used), plan.used
        plan = replace(plan_samples(get_gating(found), done, total, limit), pilot=pilot_size)
    return (plan if stages == 1 else replace(plan, used=done)), found


def plan_samples(gating: Sequence[MetricResult], pilot: int, total: int, limit: float) -> SamplePlan:
    """The plan that the metrics of a pilot ask for: of several the one that needs most."""
    counts = [count_samples_needed(metric, limit) for metric in gating]
    known = [count for count in counts if count is not None]
    needed = max(known) if known and len(known) == len(counts) else None
    return SamplePlan(pilot, needed, total, total if needed is None else min(total, max(pilot, needed)))


def judge_drop(metric: MetricResult, limit: float, *, names_output: bool = False) -> Check:
    """Whether the whole 95 % interval of the drop lies on one side of ``limit``; a guard passes where the drop itself does.

    Args:
        metric: Of the candidate against the original.
        limit: The drop that is allowed.
        names_output: Several outputs are judged, so that each has to be named.
    """
    own_limit, text = metric.get_own_limit(limit), metric.format_value
    subject = metric.describe_subject() if names_output else metric.name
    name, verb = f"drop of {subject}", "drops" if metric.higher_is_better else "rises"
    allowed = f"at most {text(own_limit)} is allowed"
    drop, interval = metric.drop, metric.interval
    if drop is None:
        return Check(name, "cannot tell", f"{subject}: no drop was measured", limit=own_limit)
    if math.isnan(drop):
        return Check(name, "fail", f"{subject} is no number any more; {allowed}", drop, None, own_limit)
    told = f"{subject} {verb} by {text(drop + 0.0)} ({text(metric.original or 0)} to {text(metric.result)})"
    if interval is None or metric.n < 2:
        return Check(
            name, "cannot tell", f"{told}; {metric.n} samples are too few for an interval; {allowed}", drop, None, own_limit
        )
    told += f", 95 % interval {text(interval[0])} to {text(interval[1])}, {metric.n} samples; {allowed}"
    # one sample of 300 is 0.00333…: an end exactly on the limit must not go by its last bit
    low, high = interval[0], drop if metric.guards else interval[1]
    verdict: Verdict = "pass" if high <= own_limit + 1e-9 else "fail" if low > own_limit + 1e-9 else "cannot tell"
    return Check(name, verdict, told, drop, interval, own_limit)
