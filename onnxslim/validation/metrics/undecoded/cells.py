"""The cells of an undecoded detector that fire, and what they say of their boxes, against the original's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.accumulator import MetricResult, compare_paired
from onnxslim.validation.metrics.classification import finish_f1
from onnxslim.validation.metrics.dataset_metric import DatasetMetric, require_original
from onnxslim.validation.metrics.detection import MIN_SCORE, MIN_TRUSTED_SCORE
from onnxslim.validation.metrics.numbers import NumberSums
from onnxslim.validation.metrics.undecoded.grids import Places
from onnxslim.validation.metrics.undecoded.heads import HeadLayout, find_heads

#: Thresholds that a user may take, of the one that is trusted; each is as likely.
LEAST_THRESHOLD, HIGHEST_THRESHOLD = 0.6, 2.4
#: What no threshold reaches: half of the lowest highest score is the lowest that is trusted.
_MIN_KEPT_SCORE = LEAST_THRESHOLD * MIN_SCORE / 2
#: Cells of a sample that are compared, those that fire most in either model; where so many fire the result is broken.
_MAX_CELLS = 1000

#: Scores, classes and box numbers of the cells of a head; (K,), (K,), (K, D).
HeadCells = tuple[np.ndarray, np.ndarray, np.ndarray]


class HeadsMetric(DatasetMetric):
    """What tells of detectors' heads, cell by cell."""

    reads_all = True

    def __init__(self) -> None:
        self._heads: list[HeadLayout] | None = None
        self._grid_shapes: list[tuple[int, ...]] | None = None
        self._highest = 0.0

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """See :meth:`.DatasetMetric.add`; one output, or all by name."""
        expected = require_original(self.name, original)
        found, expected = (one if isinstance(one, Mapping) else {"output": one} for one in (result, expected))
        if self._heads is None:
            self._heads = find_heads(expected, n)
        if not self._heads:
            shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in expected.items())
            raise UsageError(
                f"metric {self.name}: no cells with scores in the outputs {shapes}",
                hint="a head has channels that are near 0, or logits of that, in most cells",
            )
        grid_shapes = [np.shape(expected[name])[1:] for head in self._heads for name in head.names]
        if grid_shapes != self._grid_shapes:
            self._grid_shapes = grid_shapes
            self._begin(self._heads, expected)
        heads = [(head.read(expected), self._read_result(head, found, expected)) for head in self._heads]
        self._highest = max([self._highest, *(float(a[0].max(initial=0.0)) for a, _ in heads)])
        for row in range(n):
            self._add_sample([(_pick_row(a, row), _pick_row(b, row)) for a, b in heads])

    def _begin(self, heads: Sequence[HeadLayout], expected: Mapping[str, Any]) -> None:
        """Called with the original's outputs on the first batch, and on each whose grids have another size."""

    @abstractmethod
    def _add_sample(self, heads: Sequence[tuple[HeadCells, HeadCells]]) -> None:
        """Take in one sample's cells, the original's and the result's by head."""

    def _read_result(
        self, head: HeadLayout, found: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As the original is read; an output of another shape says nothing."""
        fits = all(np.shape(found[name]) == np.shape(expected[name]) for name in head.names)
        return head.read(found if fits else {name: np.full_like(expected[name], np.nan) for name in head.names})

    def _find_threshold(self, n: int) -> tuple[float, str]:
        """The score that is trusted, and what is to be said of it.

        Raises:
            InvalidDataError: No cell of the original fires in any of ``n`` samples.
        """
        highest = self._highest
        if highest < MIN_SCORE:
            raise InvalidDataError(
                f"metric {self.name}: no cell of the original has a score of {MIN_SCORE} in {n} samples",
                hint="give images that show what the model detects",
            )
        if highest >= MIN_TRUSTED_SCORE:
            return MIN_TRUSTED_SCORE, ""
        return highest / 2, f"cells fire from {highest / 2:.2g} on: the highest score is {highest:.2g}"


@dataclass(frozen=True)
class PeaksOfSample:
    """The peaks of either model in one sample, (p, 2): the score, and the other model's highest of that class beside it."""

    original: np.ndarray
    result: np.ndarray


class CellsMetric(HeadsMetric):
    """F1 of the objects that cells fire for.

    Many cells fire for one object, and suppression leaves the highest: so what counts are *peaks*, cells beside which none
    fires higher for the same class. A peak is found where a cell beside it (or on it, in another grid) fires for its class
    in the other model. At which score a cell fires is the user's to say; F1 is therefore taken over all thresholds from 0.15
    to 0.6 together, each as likely, so that a score that changes counts by the share of thresholds that it crosses. Where
    the original never is as sure, half of its highest score stands for the middle, 0.25.
    """

    name, display_name, point = "cells", "F1 of objects that cells fire for", 0.02

    def __init__(self) -> None:
        super().__init__()
        self._places = Places.of_grid(1, 1)
        self._samples: list[PeaksOfSample] = []

    def _begin(self, heads: Sequence[HeadLayout], expected: Mapping[str, Any]) -> None:
        self._places = Places.join([head.locate(expected) for head in heads])

    def _add_sample(self, heads: Sequence[tuple[HeadCells, HeadCells]]) -> None:
        (scores, classes), (others, other_classes) = (
            [np.concatenate([pair[model][part] for pair in heads]) for part in (0, 1)] for model in (0, 1)
        )
        highest = np.maximum(scores, others)
        cells = np.argsort(-highest, kind="stable")[:_MAX_CELLS]
        cells = cells[highest[cells] >= _MIN_KEPT_SCORE]
        near = self._places.pick(cells).are_neighbors()
        a, b, class_a, class_b = scores[cells], others[cells], classes[cells], other_classes[cells]
        self._samples.append(
            PeaksOfSample(_find_peaks(a, class_a, b, class_b, near), _find_peaks(b, class_b, a, class_a, near))
        )

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`.

        Raises:
            InvalidDataError: No cell of the original fires in any sample.
        """
        threshold, note = self._find_threshold(len(self._samples))
        low, high = LEAST_THRESHOLD * threshold, HIGHEST_THRESHOLD * threshold
        counts = []
        for sample in self._samples:
            # the share of thresholds at which each fires
            (of_original, kept), (of_result, true) = (
                np.clip((peaks.T - low) / (high - low), 0.0, 1.0) for peaks in (sample.original, sample.result)
            )
            missed = float(np.maximum(of_original - kept, 0).sum())
            made_up = float(np.maximum(of_result - true, 0).sum())
            counts.append(((float(of_original.sum() + of_result.sum()) - missed - made_up) / 2, made_up, missed))
        parts = np.array(counts, dtype=np.float64)
        perfect = np.stack([parts[:, 0] + parts[:, 2], np.zeros(len(parts)), np.zeros(len(parts))], axis=1)
        compared = compare_paired(self.name, perfect, parts, finish_f1, by_definition=True)
        return replace(compared, share=True, point=self.point, note=note)


class OffsetsMetric(HeadsMetric):
    """The share of the variance that is kept of the box numbers of the cells that fire in the original.

    A fiftieth is one point: where places and logarithms of sizes vary by about a half, as they do, that moves a box by a
    twelfth of its size, and nearly all overlap their old place by three quarters.
    """

    name, display_name, point = "offsets", "Variance kept of cells' boxes", 0.02

    def __init__(self) -> None:
        super().__init__()
        #: By sample and head the scores of cells that fire a little, and the box numbers of the result and the original
        self._samples: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = []

    def _add_sample(self, heads: Sequence[tuple[HeadCells, HeadCells]]) -> None:
        kept = [original[0] >= _MIN_KEPT_SCORE for original, _ in heads]
        self._samples.append([(a[0][keep], b[2][keep], a[2][keep]) for keep, (a, b) in zip(kept, heads, strict=True)])

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`.

        Raises:
            InvalidDataError: No cell of the original fires in any sample.
        """
        threshold, note = self._find_threshold(len(self._samples))
        sums: dict[int, NumberSums] = {}
        for index, sample in enumerate(self._samples):
            for head, (scores, result, original) in enumerate(sample):
                fires = scores >= threshold
                if original.shape[1]:
                    sums.setdefault(head, NumberSums()).add(result[fires], original[fires], index)
        heads = [one for one in sums.values() if one.n]
        weights = np.array([one.n for one in heads], dtype=np.float64)

        def lose(group: int | None) -> float:
            losses = np.nan_to_num([one.measure("variance", group) for one in heads])
            return float((losses * weights).sum() / weights.sum()) if len(heads) else 0.0

        return self.describe_loss(lose(None), lose, len(self._samples), note)


def _pick_row(cells: HeadCells, row: int) -> HeadCells:
    scores, classes, boxes = cells
    return scores[row], classes[row], boxes[row]


def _find_peaks(
    scores: np.ndarray, classes: np.ndarray, others: np.ndarray, other_classes: np.ndarray, near: np.ndarray
) -> np.ndarray:
    """The peaks of one model's cells (k,) that are ``near`` each other (k, k), as :class:`PeaksOfSample` has them."""
    rivals = np.where(near & (classes[:, None] == classes[None, :]), scores[None, :], 0.0).max(axis=1, initial=0.0)
    found = np.where(near & (classes[:, None] == other_classes[None, :]), others[None, :], 0.0).max(axis=1, initial=0.0)
    is_peak = scores >= rivals
    return np.stack([scores[is_peak], found[is_peak]], axis=1)
