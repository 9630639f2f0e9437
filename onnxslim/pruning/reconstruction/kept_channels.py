"""Which slots of the original's tensors a pruned model still has, over any number of rounds."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.analysis.units import Analysis


class KeptChannels:
    """tensor name -> for each of its axes, the original's slots that are left (None: all of them)."""

    def __init__(self) -> None:
        self._axes: dict[str, tuple[np.ndarray | None, ...]] = {}

    def __call__(self, tensor: str) -> tuple[np.ndarray | None, ...]:
        """The kept slots of each axis of ``tensor``."""
        return self._axes.get(tensor, ())

    def after_removing(self, analysis: Analysis, removed: np.ndarray) -> KeptChannels:
        """What is left when the units in ``removed`` (count,) of ``analysis``, of the model as it now is, go as well."""
        result = KeptChannels()
        result._axes = dict(self._axes)
        for tensor, labels in analysis.tensor_labels.items():
            old_axes = self._axes.get(tensor, (None,) * len(labels))
            axes: list[np.ndarray | None] = []
            for old_kept, position in zip(old_axes, labels, strict=True):
                keep = np.ones(0, bool) if position is None else analysis.kept_slots(position, removed)
                if keep.all():
                    axes.append(old_kept)
                else:
                    axes.append(np.flatnonzero(keep) if old_kept is None else old_kept[keep])
            result._axes[tensor] = tuple(axes)
        return result
