"""Latency from interleaved rounds: a ratio with its interval, and what each model took. Arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.validation import statistics


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
