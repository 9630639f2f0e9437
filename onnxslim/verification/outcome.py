"""How a verification ends: what is told of it, and the error of a verdict that is no pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onnxslim.core.errors import GateError, InconclusiveError, OnnxslimError
from onnxslim.pipeline.result import Result
from onnxslim.validation.statistics import samples_to_decide
from onnxslim.verification.check import Check, Verdict, conclude
from onnxslim.verification.sample_size import SamplePlan


@dataclass(frozen=True)
class Verification:
    """What was asked of a candidate and how it ended.

    Attributes:
        verdict: What the checks come to; None where only the samples were planned.
        checks: Each thing that was asked.
        samples: How many are needed, given and used; None where nothing was run.
        inconclusive: What ``cannot tell`` counts as.
    """

    verdict: Verdict | None
    checks: list[Check]
    samples: SamplePlan | None
    inconclusive: Literal["fail", "pass"]


def check_speed(latency: Mapping[str, Any] | None, min_speedup: float | None) -> list[Check]:
    """Whether the whole 95 % interval of the speed-up lies above ``min_speedup``; without one it is only told."""
    if latency is None and min_speedup is None:
        return []
    if latency is None:
        return [Check("speed", "cannot tell", f"nothing was timed; at least {min_speedup:g}× is asked", limit=min_speedup)]
    (low, high), ratio = latency["interval"], latency["ratio"]
    told = f"{ratio:.3g}× as fast, 95 % interval {low:.3g}× to {high:.3g}×"
    if min_speedup is None:
        return [Check("speed", "pass", f"{told}; none is asked", ratio, (low, high))]
    verdict: Verdict = "pass" if low >= min_speedup else "fail" if high < min_speedup else "cannot tell"
    return [Check("speed", verdict, f"{told}; at least {min_speedup:g}× is asked", ratio, (low, high), min_speedup)]


def describe_verdict(checks: Sequence[Check]) -> str:
    """The verdict and what decided it, in a line."""
    verdict = conclude(checks)
    if verdict == "pass":
        told = [check for check in checks if check.name.startswith(("drop", "files"))]
        return "pass: " + "; ".join(f"{check.model}: {check.message}" if check.model else check.message for check in told)
    return f"{verdict}: " + "; ".join(f"{check.title}: {check.message}" for check in checks if check.verdict == verdict)


def raise_unless_passed(
    checks: Sequence[Check], plan: SamplePlan | None, result: Result, inconclusive: Literal["fail", "pass"]
) -> None:
    """End with the error of the verdict of ``checks``, with ``result`` as its evidence.

    Raises:
        GateError: It is ``fail``.
        InconclusiveError: It is ``cannot tell``, and that counts as a failure.
    """
    verdict = conclude(checks)
    if verdict == "fail":
        raise make_error(GateError, checks, plan, result)
    if verdict == "cannot tell" and inconclusive == "fail":
        raise make_error(InconclusiveError, checks, plan, result)


def make_error(
    kind: type[GateError] | type[InconclusiveError], checks: Sequence[Check], plan: SamplePlan | None, result: Result
) -> OnnxslimError:
    """The error of a verdict, with the evidence as its ``result``."""
    hint = "-o writes the receipt, --report the figures"
    if kind is InconclusiveError:
        wanted = _count_deciding_samples(checks, plan)
        more = "more data, or such as fit, would tell" if plan is None else "it lies too near the limit"
        if wanted is not None:
            more = f"for these two models about {wanted} samples would decide, if their drop stays what it is on these"
        hint = f"{more}; --inconclusive pass lets it through"
    error = kind(describe_verdict(checks), hint=hint)
    error.result = result  # type: ignore[union-attr]
    return error


def _count_deciding_samples(checks: Sequence[Check], plan: SamplePlan | None) -> int | None:
    """How many samples would decide the drops that are open, if what was seen goes on; None where none is, or none would."""
    if plan is None:
        return None
    counts = [
        samples_to_decide(check.value, check.interval, plan.used, check.limit)
        for check in checks
        if check.verdict == "cannot tell" and check.name.startswith("drop")
        and check.value is not None and check.interval is not None and check.limit is not None
    ]  # fmt: skip
    known = [count for count in counts if count is not None]
    return max(known) if known and len(known) == len(counts) else None
