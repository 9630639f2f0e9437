"""How near a model is to its teacher, and what a few samples prove of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

#: How sure it has to be that what was learnt is better, over all weights that were looked at.
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class StudentScore:
    """How near a model is to its teacher, on samples it did not learn from.

    Attributes:
        error: Σ (a - b)² / Σ a² over the float outputs, their mean; 0 is equal.
        matches_teacher: Whether each sample's largest class score is the teacher's, bool (n,), or in which share of its
            views it is, float64 (n,); None without class scores.
        matches_label: Whether it is the label; None without labels.
        divergence: KL(teacher ‖ student) of the class scores, nats, the mean over samples; None without them.
        losses: Of each sample, float64 (n,): the divergence of class scores, and of every other output its squared error as
            a multiple of the teacher's mean square; a run whose samples cannot be told apart is one. None: not known.
    """

    error: float
    matches_teacher: np.ndarray | None = None
    matches_label: np.ndarray | None = None
    divergence: float | None = None
    losses: np.ndarray | None = None

    def is_better_than(self, other: StudentScore) -> bool:
        """Whether this looks better on the same samples.

        The samples that are right, or agreed on, decide if they differ by more than chance would have it (McNemar: gained
        and lost ones differ by more than the root of their sum). If not, the divergence of the class scores does: repair
        leaves the least squared error that there is, and answers come back while that rises. Without class scores it is the
        error.
        """
        if not np.isfinite(self.error):
            return False
        gained, lost = self._count_changes(other)
        if abs(gained - lost) > math.sqrt(gained + lost):
            return gained > lost
        if self.divergence is not None and other.divergence is not None:
            return self.divergence < other.divergence
        return self.error < other.error

    def is_proven_better_than(self, other: StudentScore, looks: int = 1) -> bool:
        """Whether this is better on samples that nobody has seen, as sure as these few samples can make it.

        Either more answers are right than chance would have it, or the samples' losses fell: the paired t test of their
        roots, which a single large one does not decide, while their mean falls by more than its standard error and no more
        answers are lost than chance would have it.

        Args:
            other: What was there before, on the same samples.
            looks: How many models this one was chosen from by these samples (Bonferroni).
        """
        if not np.isfinite(self.error):
            return False
        gained, lost = self._count_changes(other)
        chance = (1 - _CONFIDENCE) / looks
        if gained - lost > scipy.stats.norm.ppf(1 - chance) * math.sqrt(gained + lost):
            return True
        if lost - gained > math.sqrt(gained + lost):
            return False
        if self.losses is None or other.losses is None or len(self.losses) < 2 or not np.isfinite(other.losses).all():
            return self.is_better_than(other)
        mean, standard_error = _estimate_mean(other.losses - self.losses)
        root_mean, root_standard_error = _estimate_mean(np.sqrt(other.losses) - np.sqrt(self.losses))
        quantile = float(scipy.stats.t.ppf(1 - chance, len(self.losses) - 1))
        return mean > standard_error and root_mean > quantile * root_standard_error

    def _count_changes(self, other: StudentScore) -> tuple[float, float]:
        """How many samples this one has right, or agrees on, that ``other`` has not, and the other way round."""
        mine, theirs = ((s.matches_teacher if s.matches_label is None else s.matches_label) for s in (self, other))
        if mine is None or theirs is None:
            return 0.0, 0.0
        changes = mine.astype(np.float64) - theirs
        return float(changes[changes > 0].sum()), float(-changes[changes < 0].sum())

    def as_json(self) -> dict[str, float | None]:
        """For the report."""
        matches = {"agreement": self.matches_teacher, "top1": self.matches_label}
        match_shares = {k: None if v is None else float(v.mean()) for k, v in matches.items()}
        return {"error": self.error, "divergence": self.divergence, **match_shares}


def _estimate_mean(values: np.ndarray) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
