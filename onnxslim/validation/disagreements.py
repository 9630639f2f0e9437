"""The samples whose answer is another one now: which they are, and their inputs to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.input_binding import InputFeed
from onnxslim.data.readers.npz import pack_ragged
from onnxslim.data.samples import Batch, Samples
from onnxslim.validation.metrics.classification import get_predictions, is_scores
from onnxslim.validation.output_selection import as_rows, pick_output

#: Without classes there is no answer; then a sample has changed when its output moved by this share of its norm.
MAX_RELATIVE_CHANGE = 0.1
#: So many samples are kept to be saved, the first ones.
MAX_SAVED_SAMPLES = 1000


class DisagreementCollector:
    """Collects, batch by batch, the samples whose answer differs between two models, and their inputs.

    Attributes:
        indices: Of the samples, ascending.
        output: The output whose answers are compared; None where no output has any.

    Args:
        output: The one that the user named, or None.
    """

    def __init__(self, output: str | None = None) -> None:
        self.indices: list[int] = []
        self.output: str | None = None
        self._requested_output, self._output_picked = output, False
        self._inputs: list[dict[str, np.ndarray]] = []

    def add(self, samples: Samples, batch: Batch, original: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Take in the outputs of both models for one batch."""
        n = len(batch.indices)
        if not self._output_picked:
            self._output_picked, self.output = True, self._pick_output(original, n)
        if self.output is None:
            return
        original_rows, result_rows = (as_rows(self.output, of[self.output], n) for of in (original, result))
        for row in np.flatnonzero(_find_disagreements(original_rows, result_rows)).tolist():
            self.indices.append(batch.indices[row])
            if len(self._inputs) < MAX_SAVED_SAMPLES:
                self._inputs.append({feed.input.name: _extract_sample(feed, batch, row) for feed in samples.feeds})

    def arrays(self, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The inputs of the samples, and their labels, as an ``.npz`` holds them: data for ``--data``."""
        arrays = {} if labels is None else {"labels": labels[self.indices[: len(self._inputs)]]}
        for name in self._inputs[0] if self._inputs else ():
            arrays.update(pack_ragged(name, [sample[name] for sample in self._inputs]))
        return arrays

    def _pick_output(self, outputs: Mapping[str, Any], n: int) -> str | None:
        if self._requested_output is not None:
            return pick_output(outputs, n, self._requested_output)
        try:
            name = pick_output(outputs, n)
            as_rows(name, outputs[name], n)
        except OnnxslimError:
            return None
        return name


def _find_disagreements(original: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Shape (n,), bool: where the answer is another one."""
    n = len(original)
    if original.shape != result.shape:
        return np.ones(n, np.bool_)
    if is_scores(original) or original.dtype.kind != "f":
        return np.asarray((get_predictions(original) != get_predictions(result)).reshape(n, -1).any(axis=1))
    a, b = (x.reshape(n, -1).astype(np.float64) for x in (original, result))
    if a.shape[1] == 1 and a.min(initial=0) >= 0 and 0 < a.max(initial=0) <= 1:  # a probability: yes or no
        return np.asarray((a >= 0.5) != (b >= 0.5))[:, 0]
    error, size = np.linalg.norm(a - b, axis=1), np.linalg.norm(a, axis=1)
    return np.asarray(~(error <= MAX_RELATIVE_CHANGE * size))


def _extract_sample(feed: InputFeed, batch: Batch, row: int) -> np.ndarray:
    """One sample of a feed, as the source had it."""
    array = batch[feed.input.name]
    if feed.is_scalar or feed.axis is None:
        return np.array(array)
    return np.array(np.take(array, row, axis=feed.axis))
