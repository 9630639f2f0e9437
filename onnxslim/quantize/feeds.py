"""The calibration data as every part of the step reads them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from onnxslim.data.samples import Samples


class Feeds:
    """Single samples, streamed as often as asked; a few at either end are kept for measuring and judging."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        yield from self._samples.batches(1)

    def first(self, count: int) -> list[Mapping[str, np.ndarray]]:
        """The first ``count`` samples."""
        return list(itertools.islice(self, count))

    def last(self, count: int) -> list[Mapping[str, np.ndarray]]:
        """The last ``count`` samples."""
        return list(itertools.islice(self, max(0, len(self) - count), None))
