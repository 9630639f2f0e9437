"""The samples whose answer is another one now: which they are, and their inputs to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.data.input_binding import InputFeed
from onnxslim.data.readers.npz import pack_ragged
from onnxslim.data.samples import Batch, Samples
from onnxslim.validation.metrics.classification import get_predictions
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_rows import NoRowsError, as_rows

#: Without classes there is no answer; then a sample has changed when its output moved by this share of its norm.
MAX_RELATIVE_CHANGE = 0.1
#: Kinds of outputs that name or score one class a sample.
ANSWERING_KINDS = frozenset(("class scores", "answers"))
#: So many samples are kept to be saved, the first ones.
MAX_SAVED_SAMPLES = 1000


class DisagreementCollector:
    """Collects, batch by batch, the samples whose answer differs between two models, and their inputs.

    Attributes:
        indices: Of the samples, ascending.
        output: The output whose answers are compared; None where there is none.

    Args:
        kind: What that output is; None where nothing is to be collected.
    """

    def __init__(self, kind: OutputKind | None = None) -> None:
        self.indices: list[int] = []
        self.output = None if kind is None else kind.outputs[0]
        self._kind = kind
        self._inputs: list[dict[str, np.ndarray]] = []

    def add(self, samples: Samples, batch: Batch, original: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Take in the outputs of both models for one batch; one without a row a sample ends the collecting."""
        n, name = len(batch.indices), self.output
        if self._kind is None or name is None:
            return
        try:
            original_rows, result_rows = (self._kind.arrange(as_rows(name, of[name], n)) for of in (original, result))
        except NoRowsError:
            self._kind = self.output = None
            return
        by_answer = self._kind.name in ANSWERING_KINDS
        for row in np.flatnonzero(_find_disagreements(original_rows, result_rows, by_answer=by_answer)).tolist():
            self.indices.append(batch.indices[row])
            if len(self._inputs) < MAX_SAVED_SAMPLES:
                self._inputs.append({feed.input.name: _extract_sample(feed, batch, row) for feed in samples.feeds})

    def arrays(self, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The inputs of the samples, and their labels, as an ``.npz`` holds them: data for ``--data``."""
        arrays = {} if labels is None else {"labels": labels[self.indices[: len(self._inputs)]]}
        for name in self._inputs[0] if self._inputs else ():
            arrays.update(pack_ragged(name, [sample[name] for sample in self._inputs]))
        return arrays


def _find_disagreements(original: np.ndarray, result: np.ndarray, *, by_answer: bool) -> np.ndarray:
    """Shape (n,), bool: where the answer is another one."""
    n = len(original)
    if original.shape != result.shape:
        return np.ones(n, np.bool_)
    if by_answer or original.dtype.kind != "f":
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
