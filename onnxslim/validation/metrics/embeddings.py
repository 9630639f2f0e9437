"""Embeddings: are the same rows alike, and the same ones nearest? What a vector is by itself nobody reads."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import scipy

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.accumulator import MAX_JACKKNIFE_GROUPS, MetricResult, compare_paired
from onnxslim.validation.metrics.dataset_metric import DatasetMetric, require_original

#: Rows kept of each model; of more every second one, then every fourth…
MAX_ROWS = 2048
#: Fewer rows have too few pairs to rank.
MIN_ROWS = 4
#: Cosines nearer than this are the same: rounding of floats.
RESOLUTION = 1e-6


class EmbeddingRows:
    """Rows of both models, thinned out evenly where there are many."""

    def __init__(self) -> None:
        self.n = 0
        self._stride = 1
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, result: np.ndarray, original: np.ndarray) -> None:
        """Take in one batch, the sample on the first axis; of several vectors a sample their mean.

        Raises:
            UsageError: They are not of one length.
        """
        expected = pool_vectors(original)
        if self._rows and len(self._rows[0][0]) != expected.shape[1]:
            lengths = f"{len(self._rows[0][0])} and of {expected.shape[1]}"
            raise UsageError(
                f"vectors of {lengths} numbers have no cosine", hint="name an output of one length with --output"
            )
        found = pool_vectors(result) if result.shape == original.shape else np.zeros_like(expected)
        for pair in zip(expected, found, strict=True):
            if self.n % self._stride == 0:
                self._rows.append(pair)
            self.n += 1
            if len(self._rows) > MAX_ROWS:
                self._rows, self._stride = self._rows[::2], 2 * self._stride

    def measure_similarities(self) -> tuple[np.ndarray, np.ndarray]:
        """Cosines of all pairs of rows of the original, and of the result; (rows, rows) each."""
        expected, found = (np.stack(rows) for rows in zip(*self._rows, strict=True))
        return measure_cosines(expected), measure_cosines(found)

    def measure_own_cosine(self) -> float:
        """The mean cosine of the result's rows with the original's own."""
        rows = [[row / max(float(np.linalg.norm(row)), 1e-30) for row in pair] for pair in self._rows]
        return float(np.mean([a @ b for a, b in rows])) if rows else 0.0


def pool_vectors(values: np.ndarray) -> np.ndarray:
    """One vector a sample, float64 (n, D): of (n, …, D) the mean over what lies between; 0 of none, NaN and infinities."""
    if values.ndim > 2:
        values = values.reshape(len(values), *(size for size in values.shape[1:] if size != 1))
    rows = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    if rows.ndim <= 2:
        return rows.reshape(len(rows), math.prod(rows.shape[1:]))
    return np.asarray(rows.sum(axis=tuple(range(1, rows.ndim - 1))) / max(math.prod(rows.shape[1:-1]), 1))


def measure_cosines(rows: np.ndarray) -> np.ndarray:
    """Cosines of all pairs, (n, D) → (n, n), to :data:`RESOLUTION`; a zero vector is like nothing."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return np.asarray(np.round(unit @ unit.T / RESOLUTION) * RESOLUTION)


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation; 0 where one of the two is constant."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.square(x).sum() * np.square(y).sum()))
    return float((x * y).sum()) / norm if norm > 0 else 0.0


class EmbeddingMetric(DatasetMetric):
    """What needs the vectors of all samples at once."""

    def __init__(self) -> None:
        self._rows = EmbeddingRows()

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """See :meth:`.DatasetMetric.add`; vectors (N, D), or several a sample (N, …, D)."""
        self._rows.add(*check_vectors(self.name, result, original))


class SimilarityMetric(EmbeddingMetric):
    """Spearman's rank correlation between the cosines of all pairs within the original and within the result.

    What a search, a clustering or a verification reads of embeddings is which pairs are more alike than which (as in
    representational similarity analysis: Kriegeskorte, Mur and Bandettini, 2008). A common offset that many encoders
    have moves all cosines and no rank.
    """

    name, display_name = "similarity", "Rank correlation of similarities"

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`."""
        expected, found = self._rows.measure_similarities()
        rows = len(expected)
        first, second = np.triu_indices(rows, 1)
        expected, found = expected[first, second], found[first, second]
        if rows < MIN_ROWS or not len(expected) or np.ptp(expected) == 0:
            reason = f"{rows} rows" if rows < MIN_ROWS else "rows that are all alike"
            loss = 1 - self._rows.measure_own_cosine()
            note = f"{reason} have no pairs to rank: the cosine with the original's own"
            return self.describe_loss(loss, lambda group: np.nan, self._rows.n, note)
        a, b = scipy.stats.rankdata(expected), scipy.stats.rankdata(found)

        def lose_without(group: int) -> float:
            # the ranks of the rest are those of all, thinned out
            stays = (first % MAX_JACKKNIFE_GROUPS != group) & (second % MAX_JACKKNIFE_GROUPS != group)
            return 1 - correlate(a[stays], b[stays]) if stays.sum() > 1 else np.nan

        return self.describe_loss(1 - correlate(a, b), lose_without, self._rows.n)


class NeighborsMetric(EmbeddingMetric):
    """The share of samples whose nearest other sample, by cosine, is the one that it was for the original."""

    name, display_name, point = "neighbors", "Nearest neighbors kept", 0.1

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`."""
        expected, found = self._rows.measure_similarities()
        kept = keep_neighbors(expected, found)
        if len(kept) < MIN_ROWS:
            loss, note = 1 - self._rows.measure_own_cosine(), f"{len(kept)} rows: the cosine with the original's own"
            return self.describe_loss(loss, lambda group: np.nan, self._rows.n, note)
        compared = compare_paired(
            self.name, np.ones((len(kept), 1)), kept[:, None], lambda means: means[:, 0], by_definition=True
        )
        return replace(compared, n=self._rows.n, share=True, point=self.point)


def keep_neighbors(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Whether each row's nearest by ``found`` is (one of) the nearest by ``expected``; cosines (n, n) → float64 (n,).

    Where the result holds all to be equally near, it names none.
    """
    if len(expected) < 2:
        return np.ones(len(expected))
    expected, found = expected.copy(), found.copy()
    for cosines in (expected, found):
        np.fill_diagonal(cosines, -np.inf)
    best = expected.max(axis=1)
    nearest = found == found.max(axis=1, keepdims=True)
    is_best = expected >= best[:, None] - RESOLUTION
    # of several that are equally near any may be named: the share of them that is right
    return np.asarray((nearest & is_best).sum(axis=1) / nearest.sum(axis=1))


def check_vectors(name: str, result: Any, original: Any | None) -> tuple[np.ndarray, np.ndarray]:
    """Both models' arrays.

    Raises:
        UsageError: No original, or no vectors.
    """
    expected = require_original(name, original)
    if expected.dtype.kind != "f" or expected.ndim < 2:
        raise UsageError(
            f"metric {name}: expected vectors of shape (N, D), got {expected.dtype} of shape {expected.shape}",
            hint="name such an output with --output",
        )
    return np.asarray(result), expected
