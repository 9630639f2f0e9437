"""How many weights become zero, and where, as it is written: ``50%``, ``2:4``, ``50%:1x4`` or ``<0.001``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim.core.errors import UsageError

if TYPE_CHECKING:
    from onnxslim.pruning.sparsity.masks import MaskRule

NOTATIONS = "a share such as 50%, a pattern 2:4, a share of tiles 50%:1x4, or a threshold <0.001"


@dataclass(frozen=True)
class Sparsity:
    """Zeros as they were asked for.

    Attributes:
        share: Of the weights, in (0, 1); None with a threshold.
        pattern: (n, m): n of every m neighbouring input channels stay.
        tile: (rows, columns) that go together.
        threshold: Weights of a smaller magnitude go, instead of a share.
    """

    share: float | None = None
    pattern: tuple[int, int] | None = None
    tile: tuple[int, int] | None = None
    threshold: float | None = None

    @property
    def column_multiple(self) -> int:
        """How many neighbouring columns are looked at together."""
        return self.pattern[1] if self.pattern is not None else self.tile[1] if self.tile is not None else 1

    def make_mask_rule(self, share: float) -> MaskRule:
        """What goes from a layer that may lose ``share`` of its weights; a pattern or a threshold decides for itself."""
        # every command reads such text, and few need what computes with it
        from onnxslim.pruning.sparsity.masks import by_pattern, by_share, by_threshold, by_tile

        if self.threshold is not None:
            return by_threshold(self.threshold)
        if self.pattern is not None:
            return by_pattern(*self.pattern)
        return by_share(share) if self.tile is None else by_tile(share, *self.tile)


def parse_sparsity(given: float | str) -> Sparsity:
    """A share as a number, or any of the written forms.

    Raises:
        UsageError: It is none of them, or nothing or everything would go.
    """
    text = f"{given!r}" if isinstance(given, float) else str(given).replace(" ", "")
    if match := re.fullmatch(r"(\d+):(\d+)", text):
        n, m = int(match[1]), int(match[2])
        if 0 < n < m:
            return Sparsity(1 - n / m, pattern=(n, m))
    elif match := re.fullmatch(r"<(\d*\.?\d+(?:e[+-]?\d+)?)", text):
        if float(match[1]) > 0:
            return Sparsity(threshold=float(match[1]))
    elif match := re.fullmatch(r"(\d*\.?\d+(?:e[+-]?\d+)?)(%?)(?::(\d+)x(\d+))?", text):
        share = float(match[1]) / (100 if match[2] else 1)
        tile = (int(match[3]), int(match[4])) if match[3] else None
        if 0 < share < 1 and (tile is None or min(tile) > 0):
            return Sparsity(share, tile=tile)
    raise UsageError(f"--sparsity {given}: expected {NOTATIONS}")
