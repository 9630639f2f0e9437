"""Bias and variance of a repair: how much of what is left of its error more samples would take away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: The share of the error that may be for want of samples.
ENOUGH_SHARE = 0.1
#: From which share on people are told.
WORTH_SAYING = 0.2


@dataclass(frozen=True)
class SampleNeed:
    """What samples mean to a repair.

    Attributes:
        variance_share: Of the error on samples that were not seen, the share that fitting to these few adds.
        samples: How many would bring that share down to :data:`ENOUGH_SHARE`.
    """

    variance_share: float
    samples: int


def estimate_sample_need(seen: Sequence[float], left_out: Sequence[float], samples: int) -> SampleNeed:
    """From the errors of layers on rows that they were fitted to, and on rows left out.

    Fitting lowers the error that is seen by about as much as it raises that on others (Mallows 1973): the bias is half way
    between, the variance the distance to there, which falls as samples grow.

    Args:
        seen: By layer.
        left_out: The same, cross-validated.
        samples: How many there are.
    """
    total = float(np.sum(left_out))
    variance = max(total - float(np.sum(seen)), 0.0) / 2
    if not 0 < variance < total:
        return SampleNeed(0.0 if variance <= 0 else 1.0, samples)
    wanted = variance / (total - variance) * (1 - ENOUGH_SHARE) / ENOUGH_SHARE * samples
    return SampleNeed(variance / total, max(samples, int(np.ceil(wanted))))
