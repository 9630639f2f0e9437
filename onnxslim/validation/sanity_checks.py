"""The near-chance check: a model that guesses cannot be judged, and the usual reason is the preprocessing.

A wrong mean, swapped channels or another class order make a good model guess; compressed, it guesses as well, and every
comparison comes out fine. So the original is looked at first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxslim.activations.output_error import compute_sqnr_db
from onnxslim.core.errors import InvalidDataError
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.statistics import wilson_interval

PREPROCESSING_HINT = "check the preprocessing (scale, mean, std, colour order, layout) and the order of the classes"

#: Metrics that count answers.
_COUNTING_METRICS = frozenset(("top1", "top5", "agreement", "neighbors"))
#: Outputs that vary less than this between samples, against their own size, are suspect.
MIN_VARIATION_DB = -40.0


def check_above_chance(subject: str, hits: int, labels: np.ndarray) -> None:
    """Refuse to judge a model whose top-1 cannot be told from always naming the most frequent class.

    Args:
        subject: Whom the message is about, e.g. ``the original``.
        hits: Samples that it answers correctly.
        labels: Shape (n,).

    Raises:
        InvalidDataError: The top-1 lies inside the 95 % interval of the majority class's share, or below the one that
            guessing among the labels' classes would reach.
    """
    n = len(labels)
    counts = np.unique(labels, return_counts=True)[1]
    majority_count = int(counts.max())
    low, high = wilson_interval(majority_count, n)
    guessing_bound = wilson_interval(round(n / len(counts)), n)[1]
    if low <= hits / n <= high or hits / n <= min(guessing_bound, low):
        raise InvalidDataError(
            f"{subject}'s top-1 is {hits / n:.1%} on {n} samples, where always naming the most frequent class"
            f" scores {majority_count / n:.1%} (95 % interval {low:.1%} to {high:.1%}): it is no better than guessing",
            hint=PREPROCESSING_HINT if len(counts) > 1 else "the labels hold one class only; add samples of others",
        )


def describe_resolution(gating: Sequence[MetricResult], n: int, max_drop: float) -> str | None:
    """Why ``n`` samples cannot show that ``max_drop`` is kept; None where they may.

    One answer is 1 / n of metrics of right and wrong, where a sample has one and no sequence of them; of one sample nothing
    has an interval.
    """
    of_sequences = {metric.output for metric in gating if metric.name == "tokens"}
    for metric in gating:
        limit = metric.get_own_limit(max_drop)
        if metric.name in _COUNTING_METRICS and metric.output not in of_sequences and limit * n < 1:
            one, allowed = metric.format_value(1 / n), metric.format_value(limit)
            return (
                f"the confirm data cannot show whether {metric.name} drops by {allowed}: one answer of {n} is {one};"
                f" {math.ceil(1 / limit)} samples could"
            )
    if n < 2 and gating:
        return f"one confirm sample cannot show a drop of {gating[0].name}: give more of them with --eval-data"
    return None


class OutputVariation:
    """How much an output varies between samples: a running mean vector and a running energy."""

    def __init__(self) -> None:
        self._sum: np.ndarray | None = None
        self._energy = 0.0
        self._n = 0

    def add(self, outputs: np.ndarray) -> None:
        """Take in a batch of float outputs, the sample on the first axis; another shape per sample ends the check."""
        rows = outputs.reshape(len(outputs), -1).astype(np.float64)
        if self._sum is None:
            self._sum = np.zeros(rows.shape[1])
        if rows.shape[1] != len(self._sum):
            self._n = -1
        if self._n < 0:
            return
        self._sum += rows.sum(axis=0)
        self._energy += float(np.einsum("ij,ij->", rows, rows))
        self._n += len(rows)

    def warning(self, name: str) -> str | None:
        """One line when output ``name`` hardly depends on the sample."""
        if self._n < 2 or self._sum is None or not np.isfinite(self._energy):
            return None
        mean_energy = float(np.einsum("i,i->", self._sum, self._sum)) / self._n
        varying_energy = max(self._energy - mean_energy, self._energy * 1e-15)
        variation_db = compute_sqnr_db(varying_energy, self._energy) if self._energy else -np.inf
        if variation_db >= MIN_VARIATION_DB:
            return None
        return f"output {name} hardly differs between the samples ({variation_db:.0f} dB of its size): {PREPROCESSING_HINT}"
