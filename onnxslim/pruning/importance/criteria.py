"""Criteria: what says that a channel matters. To add one, write a function of Evidence and put it in the table.

Every criterion ranks the units of one family; how much to take from which family is decided by measured effects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """What is known of the n units of one family; each list has an entry per place that holds them.

    Attributes:
        filters: (n, size), the weights that make each unit.
        gamma: (n, k), the BatchNormalization scales it passes, where they are not folded.
        deviation: (n,), the standard deviation of what its producers put out, before any activation.
        energy: (n,), the root mean square of what its consumers read.
        saliency: (n, size), how much the loss feels each of those weights
            (:func:`onnxslim.recovery.step.compute_gradient_importance`).
        rng: For chance.
    """

    filters: Sequence[np.ndarray]
    gamma: Sequence[np.ndarray]
    deviation: Sequence[np.ndarray]
    energy: Sequence[np.ndarray]
    saliency: Sequence[np.ndarray]
    rng: np.random.Generator


@dataclass(frozen=True)
class Criterion:
    """A way to rank units.

    Attributes:
        score: Evidence -> float64 (n,), larger for what matters more; None when layers are asked directly (OBS).
        requires: What it cannot do without: "weights", "producers" or "consumers" (activations), "gradients" (which need
            the ``torch`` extra), or "nothing".
        summary: What it is, with its paper, for the documentation.
    """

    score: Callable[[Evidence], np.ndarray] | None
    requires: str
    summary: str


def l1(evidence: Evidence) -> np.ndarray:
    """The L1 norm of the filters (Li et al. 2017)."""
    return np.asarray(sum(np.abs(f).sum(axis=1) for f in evidence.filters))


def l2(evidence: Evidence) -> np.ndarray:
    """The L2 norm of the filters."""
    return np.asarray(np.sqrt(sum(np.square(f, dtype=np.float64).sum(axis=1) for f in evidence.filters)))


def bn(evidence: Evidence) -> np.ndarray:
    """The BatchNormalization scale (Liu et al. 2017); folded, the deviation it set stands in."""
    if evidence.gamma:
        return np.asarray(sum(np.abs(g).sum(axis=1) for g in evidence.gamma))
    return np.asarray(sum(evidence.deviation))


def activation(evidence: Evidence) -> np.ndarray:
    """The root mean square of what consumers read."""
    return np.asarray(sum(evidence.energy))


def gradient_saliency(evidence: Evidence) -> np.ndarray:
    """How much the loss feels the filters: Taylor (Molchanov et al. 2019) or Fisher (Theis et al. 2018)."""
    return np.asarray(sum(values.sum(axis=1, dtype=np.float64) for values in evidence.saliency))


def random_scores(evidence: Evidence) -> np.ndarray:
    """A draw: the baseline every criterion has to beat."""
    return evidence.rng.random(len(evidence.filters[0]) if evidence.filters else 0)


#: name on the command line -> criterion
CRITERIA: dict[str, Criterion] = {
    "obs": Criterion(
        None,
        "consumers",
        "what its readers lose after repair (Hassibi and Stork 1992; Frantar and Alistarh 2022)",
    ),
    "l1": Criterion(l1, "weights", "the L1 norm of its filters (Li et al. 2017)"),
    "l2": Criterion(l2, "weights", "the L2 norm of its filters"),
    "bn": Criterion(
        bn, "producers", "its BatchNormalization scale (Liu et al. 2017); folded, the deviation it set stands in"
    ),
    "activation": Criterion(activation, "consumers", "the root mean square of what consumers read"),
    "taylor": Criterion(
        gradient_saliency, "gradients", "how much the loss feels its filters, to first order (Molchanov et al. 2019)"
    ),
    "fisher": Criterion(
        gradient_saliency, "gradients", "how much the loss feels its filters, by squared gradients (Theis et al. 2018)"
    ),
    "random": Criterion(random_scores, "nothing", "a draw: the baseline every criterion has to beat"),
}
