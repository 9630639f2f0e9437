"""Latency from interleaved rounds: a ratio with its interval, what each model took, and what to be careful about in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxslim.core.errors import UsageError
from onnxslim.validation import statistics

#: Two files of the same model, laid out differently, may differ by this much.
MIN_SPEED_RATIO = 0.98
#: An interval of the ratio wider than this share of it says more of the machine than of the models.
_MAX_INTERVAL_WIDTH = 0.2


@dataclass(frozen=True)
class ModelTimes:
    """What one model took, in milliseconds, as :func:`compute_percentiles` writes it."""

    median_ms: float
    p90_ms: float
    p99_ms: float
    interval_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class TimedPair:
    """What :func:`summarize` writes, as a document of a stranger has it: held to its types.

    Raises:
        UsageError: The ratio or its interval is none.
    """

    provider: str
    threads: int
    batch: int
    ratio: float
    interval: tuple[float, ...]
    original: ModelTimes
    result: ModelTimes
    rounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    of: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.ratio < math.inf:
            raise UsageError(f"ratio: {self.ratio!r}, expected a number above 0")
        if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1] < math.inf:
            raise UsageError(f"interval: {list(self.interval)!r:.80}, expected the two ends of one, the lower first")


@dataclass(frozen=True)
class LatencyRecord(TimedPair):
    """The contract's ``latency``: of a decoder's texts that of a step, and beside it that of reading a prompt."""

    prompt: TimedPair | None = None


def compute_percentiles(seconds: np.ndarray) -> dict[str, Any]:
    """Median, p90 and p99 of one model in milliseconds, with the 95 % interval of the median.

    Args:
        seconds: Shape (rounds,), in the order of measurement.
    """
    median, p90, p99 = (1000 * float(value) for value in np.percentile(seconds, [50, 90, 99]))
    low, high = statistics.median_interval(1000 * seconds)
    return {"median_ms": median, "p90_ms": p90, "p99_ms": p99, "interval_ms": [low, high]}


def summarize(rounds: Mapping[str, np.ndarray], *, provider: str, threads: int, batch: int) -> dict[str, Any]:
    """The contract's ``latency``: how many times faster the result is, by the median of per-round ratios.

    Args:
        rounds: Seconds of one inference in each round, shape (rounds,), as ``original`` and ``result``; element i of
            both was measured in round i.
        provider: The execution provider that ran.
        threads: Intra-op threads.
        batch: Samples in one inference.
    """
    original, result = rounds["original"], rounds["result"]
    return {
        "provider": provider,
        "threads": threads,
        "batch": batch,
        "ratio": float(np.median(original / result)),
        "interval": list(statistics.ratio_interval(original, result)),
        "original": compute_percentiles(original),
        "result": compute_percentiles(result),
        "rounds": {name: (1000 * rounds[name]).tolist() for name in ("original", "result")},
    }


def is_slower(latency: Mapping[str, Any]) -> bool:
    """Whether the result is slower than the original, beyond chance and by more than anybody would notice."""
    return bool(latency["interval"][1] < MIN_SPEED_RATIO)


def list_cautions(latency: Mapping[str, Any]) -> list[str]:
    """What whoever reads the times should know."""
    cautions = []
    (low, high), ratio = latency["interval"], latency["ratio"]
    if is_slower(latency):
        cautions.append(f"the result is slower than the original on this machine: {ratio:.2f}× its speed")
    if high - low > _MAX_INTERVAL_WIDTH * ratio:
        cautions.append(
            f"this machine was noisy while it was timed: the speed-up lies between {low:.2f}× and {high:.2f}×; "
            "time again when nothing else runs"
        )
    prompt = latency.get("prompt")
    if prompt and is_slower(prompt):
        cautions.append(
            f"the result reads a prompt slower than the original on this machine: {prompt['ratio']:.2f}× its speed"
        )
    return cautions
