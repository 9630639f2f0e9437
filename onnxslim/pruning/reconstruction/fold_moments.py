"""Second moments of rows in folds, and of all but one of them."""

from __future__ import annotations

from collections.abc import Sequence

from onnxslim.pruning.statistics.regression_rows import RegressionRows
from onnxslim.pruning.statistics.second_moments import SecondMoments

#: Gram matrices of all folds are held where they take up to so many bytes together; of wider layers one fold judges alone.
MAX_HELD_BYTES = 64_000_000


def count_judges(groups: int, columns: int, targets: int, folds: int) -> int:
    """How many of ``folds`` judge what is fitted to the others, for a layer of such a shape: all of them or one."""
    fold_bytes = 8 * groups * columns * (columns + targets)
    return folds if fold_bytes * folds <= MAX_HELD_BYTES else 1


class FoldMoments:
    """The moments of all rows, and of all but those of one fold.

    Args:
        folds: The rows.

    Attributes:
        folds: The rows.
        total: Of all of them.
        judges: The folds that judge what is fitted to the others: all that have rows, or of a wide layer the last of them.
    """

    def __init__(self, folds: Sequence[RegressionRows]) -> None:
        self.folds = folds
        self.total = folds[0].moments()
        self.judges = [fold for fold, rows in enumerate(folds) if len(rows)]
        self.judges = self.judges[-count_judges(self.total.groups, self.total.columns, self.total.targets, len(folds)) :]
        self._held = {0: self.total} if 0 in self.judges else {}
        for fold, rows in enumerate(folds[1:], 1):
            moments = rows.moments()
            self.total += moments
            if fold in self.judges:
                self._held[fold] = moments

    def without(self, fold: int) -> SecondMoments:
        """Those of all rows but the fold's, which is one of :attr:`judges`."""
        return self.total - self._held[fold]
