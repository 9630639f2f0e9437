"""Which slots of the original's tensors a pruned model still has, over any number of rounds."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.units import Analysis


class Kept:
    """tensor name -> for each of its axes, the original's slots that are left (None: all of them)."""

    def __init__(self) -> None:
        self._axes: dict[str, tuple[np.ndarray | None, ...]] = {}

    def __call__(self, tensor: str) -> tuple[np.ndarray | None, ...]:
        """The kept slots of each axis of ``tensor``."""
        return self._axes.get(tensor, ())

    def then(self, analysis: Analysis, mask: np.ndarray) -> Kept:
        """What is left when the units in ``mask`` (count,) of ``analysis``, of the model as it now is, go as well."""
        after = Kept()
        after._axes = dict(self._axes)
        for tensor, labels in analysis.values.items():
            before = self._axes.get(tensor, (None,) * len(labels))
            axes: list[np.ndarray | None] = []
            for old, position in zip(before, labels, strict=True):
                keep = np.ones(0, bool) if position is None else analysis.keep(position, mask)
                if keep.all():
                    axes.append(old)
                else:
                    axes.append(np.flatnonzero(keep) if old is None else old[keep])
            after._axes[tensor] = tuple(axes)
        return after
