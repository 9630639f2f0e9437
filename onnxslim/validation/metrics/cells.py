"""The cells of an undecoded detector that fire, and what they say of their boxes, against the original's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.accumulator import MetricResult, compare_paired
from onnxslim.validation.metrics.classification import finish_f1
from onnxslim.validation.metrics.dataset_metric import DatasetMetric, require_original
from onnxslim.validation.metrics.detection import MIN_SCORE, MIN_TRUSTED_SCORE
from onnxslim.validation.metrics.heads import HeadLayout, find_heads
from onnxslim.validation.metrics.numbers import NumberSums


@dataclass(frozen=True)
class CellsOfSample:
    """The cells of one sample that fire a little in either model: scores (k,), whether the class is the same, and the
    box numbers of both (k, D) by head.
    """

    original: np.ndarray
    result: np.ndarray
    same_class: np.ndarray
    boxes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


class CellsMetric(DatasetMetric):
    """F1 of the cells that fire, with their class: those of the original, from a score of 0.25 on, are the truth.

    Where it never is as sure, half of its highest score stands for that.
    """

    name, display_name, point, reads_all = "cells", "F1 of cells that fire", 0.02, True

    def __init__(self) -> None:
        self._heads: list[HeadLayout] | None = None
        self._samples: list[CellsOfSample] = []

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
        heads = [(head.read(expected), self._read_result(head, found, expected)) for head in self._heads]
        for row in range(n):
            self._samples.append(_compare_cells([_pick_row(a, b, row) for a, b in heads]))

    def _read_result(
        self, head: HeadLayout, found: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As the original is read; an output of another shape says nothing."""
        fits = all(np.shape(found[name]) == np.shape(expected[name]) for name in head.names)
        return head.read(found if fits else {name: np.full_like(expected[name], np.nan) for name in head.names})

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`.

        Raises:
            InvalidDataError: No cell of the original fires in any sample.
        """
        threshold, note = self._find_threshold()
        counts = []
        for sample in self._samples:
            of_original, of_result = sample.original >= threshold, sample.result >= threshold
            both = int((of_original & of_result & sample.same_class).sum())
            counts.append((both, int(of_result.sum()) - both, int(of_original.sum()) - both))
        parts = np.array(counts, dtype=np.float64)
        perfect = np.stack([parts[:, 0] + parts[:, 2], np.zeros(len(parts)), np.zeros(len(parts))], axis=1)
        compared = compare_paired(self.name, perfect, parts, finish_f1, by_definition=True)
        return replace(compared, share=True, point=self.point, note=note)

    def _find_threshold(self) -> tuple[float, str]:
        highest = max((float(sample.original.max(initial=0.0)) for sample in self._samples), default=0.0)
        if highest < MIN_SCORE:
            raise InvalidDataError(
                f"metric {self.name}: no cell of the original has a score of {MIN_SCORE} in {len(self._samples)} samples",
                hint="give images that show what the model detects",
            )
        if highest >= MIN_TRUSTED_SCORE:
            return MIN_TRUSTED_SCORE, ""
        return highest / 2, f"cells fire from {highest / 2:.2g} on: the highest score is {highest:.2g}"


class OffsetsMetric(CellsMetric):
    """The share of the variance that is kept of the box numbers of the cells that fire in the original.

    A fiftieth is one point: where places and logarithms of sizes vary by about a half, as they do, that moves a box by a
    twelfth of its size, and nearly all overlap their old place by three quarters.
    """

    name, display_name, point = "offsets", "Variance kept of cells' boxes", 0.02

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`.

        Raises:
            InvalidDataError: No cell of the original fires in any sample.
        """
        threshold, note = self._find_threshold()
        sums: dict[int, NumberSums] = {}
        for index, sample in enumerate(self._samples):
            for head, (scores, result, original) in enumerate(sample.boxes):
                fires = scores >= threshold
                if original.shape[1]:
                    sums.setdefault(head, NumberSums()).add(result[fires], original[fires], index)
        heads = [one for one in sums.values() if one.n]
        weights = np.array([one.n for one in heads], dtype=np.float64)

        def lose(group: int | None) -> float:
            losses = np.nan_to_num([one.measure("variance", group) for one in heads])
            return float((losses * weights).sum() / weights.sum()) if len(heads) else 0.0

        return self.describe_loss(lose(None), lose, len(self._samples), note)


def _pick_row(
    original: tuple[np.ndarray, np.ndarray, np.ndarray], result: tuple[np.ndarray, np.ndarray, np.ndarray], row: int
) -> tuple[np.ndarray, ...]:
    """Scores, whether the class is the same, and box numbers of the cells of one sample that fire a little."""
    scores, others = original[0][row], result[0][row]
    keep = np.maximum(scores, others) >= MIN_SCORE
    same = original[1][row] == result[1][row]
    return scores[keep], others[keep], same[keep], result[2][row][keep], original[2][row][keep]


def _compare_cells(heads: Sequence[tuple[np.ndarray, ...]]) -> CellsOfSample:
    original, result, same = (np.concatenate([head[place] for head in heads]) for place in range(3))
    return CellsOfSample(original, result, same, [(head[0], head[3], head[4]) for head in heads])
