"""Numbers: how much of what an output says is kept, feature by feature, beside how it varies between samples.

An error means something only next to what the output tells apart. So every feature's error is held against its own
variance over the samples: a large mean or a constant offset hides nothing, and features of different units weigh the
same. The features are all places of a sample where every sample has the same shape, the last axis where shapes vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from onnxslim.activations.output_error import difference
from onnxslim.validation.metrics.accumulator import MAX_JACKKNIFE_GROUPS
from onnxslim.validation.metrics.classification import MAX_ELEMENTS
from onnxslim.validation.metrics.metric import PartsFunction, as_column, check_numeric_labels, flatten_samples

#: So many places of a sample are told apart; of larger samples neighbors are summed together.
MAX_FEATURES = 1 << 14
#: So many features or fewer are quantities that are read one by one, each in its unit: the worst of them counts. More are
#: places of one quantity (a spectrum, a wave, a map): their mean counts, and a place that hardly varies is held against a
#: hundredth of the mean variance, because nobody reads it more finely than the places beside it.
MAX_SEPARATE_FEATURES, MIN_SHARE_OF_VARIANCE = 16, 0.01
#: What varies by less than this share of its size is constant: floats of 32 bits round nearly as much away.
MIN_RELATIVE_SPREAD = 1e-6
#: From so many samples on their variance is told, and its uncertainty with it. Of fewer it is taken as it is, for numbers
#: that are read one by one; of less than the second, and for places of one quantity, the spread inside a sample stands in.
MIN_SAMPLES, MIN_VARYING_SAMPLES = 6, 3
#: What is taken off the number of values that a sum of squares is divided by. The inverse of a variance, and of a standard
#: deviation, of few normal values is too large in the mean; with these it is right (the mean of an inverse χ², and of χ).
LOST_DEGREES = {"variance": 3.0, "deviation": 2.5}

#: The rows of a table of sums: values, the original's (less a shift), their squares, the error's squares and sizes.
_COUNT, _TOTAL, _SQUARE, _NOISE, _DEVIATION = range(5)


class NumberSums:
    """What errors and variances take of a stream of batches: five sums by feature, in groups for the jackknife.

    A sample whose result has another shape, or is not finite where the original is, is lost whole: it is counted, and no
    part of the sums.
    """

    def __init__(self) -> None:
        self.n = 0
        #: by group: samples, samples lost, and the sum of the variances inside each sample
        self._samples = np.zeros((MAX_JACKKNIFE_GROUPS, 3))
        self._sums = np.zeros((MAX_JACKKNIFE_GROUPS, 5, 0))
        self._shift = np.zeros(0)
        self._shape: tuple[int, ...] | None = None
        self._varies = False

    def add(self, result: np.ndarray, original: np.ndarray, group: int | None = None) -> None:
        """Take in one batch, the sample on the first axis; all of one ``group``, or each of the next in turn."""
        if not len(original):
            return
        if self._shape is None:
            self._open(original[0])
        elif original.shape[1:] != self._shape and not (
            self._varies and self._shift.shape in ((1,), original[0].shape[-1:])
        ):
            self._go_on_by_last_axis(original[0])
        groups = (
            (self.n + np.arange(len(original))) % MAX_JACKKNIFE_GROUPS if group is None else np.full(len(original), group)
        )
        self.n += len(original)
        rows = max(1, MAX_ELEMENTS // max(original[0].size, 1))
        for start in range(0, len(original), rows):
            cut = slice(start, start + rows)
            fitting = result[cut] if result.shape == original.shape else None
            self._add_rows(fitting, original[cut], groups[cut] % MAX_JACKKNIFE_GROUPS)

    def _add_rows(self, result: np.ndarray | None, original: np.ndarray, groups: np.ndarray) -> None:
        """Rows that are all lost where there is no result."""
        n, places = len(original), original[0].size
        expected = original.reshape(n, places).astype(np.float64)
        unknown = ~np.isfinite(expected)
        if result is None:
            error = np.full(expected.shape, np.nan)
        else:
            error = difference(expected, result.reshape(n, places))
        if unknown.any():
            expected[unknown] = error[unknown] = 0.0
        # what finds something where the original found nothing has no place that could be wrong
        lost = np.full(n, result is None) | ~np.isfinite(error).all(axis=1)
        # less the first of them, so that a row that is the same throughout has no variance at all
        centered = expected - expected[:, :1]
        centered[unknown] = 0.0
        count = np.maximum(places - unknown.sum(axis=1), 1)
        inner = np.einsum("ij,ij->i", centered, centered) / count - (centered.sum(axis=1) / count) ** 2
        np.add.at(self._samples, groups, np.stack([np.ones(n), lost, np.where(lost, 0.0, np.maximum(inner, 0.0))], axis=1))
        if lost.all():
            return
        if lost.any():
            unknown, expected, error, groups = unknown[~lost], expected[~lost], error[~lost], groups[~lost]
        centered = expected - self._spread_shift(places)
        centered[unknown] = 0.0
        for row, values in enumerate((1.0 - unknown, centered, centered**2, error**2, np.abs(error))):
            self._add_by_group(row, groups, self._fold(values))

    def _add_by_group(self, row: int, groups: np.ndarray, values: np.ndarray) -> None:
        for group in np.unique(groups):
            self._sums[group, row] += values[groups == group].sum(axis=0)

    def measure(self, what: Literal["variance", "deviation"], without: int | None = None) -> float:
        """What is lost, from 0 to 1: of several features the worst, of many the mean; NaN without samples.

        Args:
            what: ``variance``: of the error over the original's. ``deviation``: mean size of the error over the spread.
            without: A group that the jackknife leaves out.
        """
        keep = np.arange(MAX_JACKKNIFE_GROUPS) != (-1 if without is None else without)
        samples, lost, _ = self._samples[keep].sum(axis=0)
        kept = samples - lost
        if not samples:
            return math.nan
        if not kept or not len(self._shift):  # nothing is left, or nothing was said
            return float(lost / samples)
        sums, scaled_by = self._sums[keep].sum(axis=0), keep
        if not self._has_enough():  # one sample less would be another scale altogether
            scaled_by = np.ones_like(keep)
        of_all, all_lost, inner = self._samples[scaled_by].sum(axis=0)
        scale = scale_features(
            self._sums[scaled_by].sum(axis=0), self._shift, inner / (of_all - all_lost), self._count_lost_degrees(what)
        )
        error, size = (sums[_DEVIATION], np.sqrt(scale)) if what == "deviation" else (sums[_NOISE], scale)
        size = size * sums[_COUNT]
        ratio = np.divide(error, size, out=np.where(error > 0, 1.0, 0.0), where=size > 0)
        loss = np.minimum(ratio, 1.0)
        value = loss.max(initial=0.0) if len(loss) <= MAX_SEPARATE_FEATURES else loss.mean()
        return float((lost + kept * value) / samples)

    def describe_scale(self) -> str:
        """One line where errors are not held against the variance between samples; else empty."""
        variance, _, constant = describe_features(self._sums.sum(axis=0), self._shift)
        if not len(variance):
            return ""
        if self._count_lost_degrees("variance") is None:
            return f"{self.n} samples do not show how much it varies between them: held against the spread inside each"
        if not self._has_enough():
            return f"{self.n} samples hardly show how much it varies between them"
        if constant.all():
            return "it is the same for all samples: held against the spread inside each, or its size"
        return ""

    def _has_enough(self) -> bool:
        # where shapes vary every place is a value of its feature
        return self._varies or self._count_kept() >= MIN_SAMPLES

    def _count_kept(self) -> int:
        return int(self._samples[:, 0].sum() - self._samples[:, 1].sum())

    def _count_lost_degrees(self, what: Literal["variance", "deviation"]) -> float | None:
        """For :func:`scale_features`."""
        if self._has_enough():
            return LOST_DEGREES[what]
        is_separate = len(self._shift) <= MAX_SEPARATE_FEATURES
        return 1.0 if is_separate and self._count_kept() >= MIN_VARYING_SAMPLES else None

    def _open(self, first: np.ndarray) -> None:
        self._shape = first.shape
        known = np.isfinite(first).reshape(1, -1)
        counts = self._fold(known.astype(float))[0]
        total = self._fold(np.where(known, first.reshape(1, -1), 0.0))[0]
        # a large mean must not eat the digits of the variance
        self._shift = total / np.maximum(counts, 1.0)
        self._sums = np.zeros((MAX_JACKKNIFE_GROUPS, 5, len(self._shift)))

    def _spread_shift(self, places: int) -> np.ndarray:
        """The shift of each place of a sample."""
        if self._varies:
            return np.asarray(np.tile(self._shift, places // len(self._shift)))
        return np.asarray(np.repeat(self._shift, -(-places // MAX_FEATURES))[:places])

    def _fold(self, values: np.ndarray) -> np.ndarray:
        """The sums by feature of the places of each sample, (n, places) → (n, features)."""
        if self._varies:
            return np.asarray(values.reshape(len(values), -1, len(self._shift)).sum(axis=1))
        block = -(-values.shape[1] // MAX_FEATURES)
        return values if block <= 1 else np.asarray(np.add.reduceat(values, np.arange(0, values.shape[1], block), axis=1))

    def _go_on_by_last_axis(self, first: np.ndarray) -> None:
        """Sum what was told apart by place: those of samples of several shapes, as ``first`` shows, are not the same."""
        assert self._shape is not None
        places, shape = math.prod(self._shape), first.shape
        is_common = len(shape) > 1 and len(self._shape) > 1 and shape[-1] == self._shape[-1] and places <= MAX_FEATURES
        width = (self._shape[-1] if is_common else 1) or 1
        count, total, square = (self._sums[:, row] for row in (_COUNT, _TOTAL, _SQUARE))
        seen = self._shift if places else first  # a list of what was found may begin with nothing
        known = np.isfinite(seen).reshape(-1, width)
        center = np.where(known, seen.reshape(-1, width), 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        offset = (self._shift.reshape(-1, width) - center).ravel()
        self._sums[:, _SQUARE] = square + 2 * offset * total + count * offset**2
        self._sums[:, _TOTAL] = total + count * offset
        self._sums = self._sums.reshape(MAX_JACKKNIFE_GROUPS, 5, -1, width).sum(axis=2)
        self._shift, self._varies = center, True


def describe_features(sums: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance, mean square and whether it is constant of each feature, from its sums, shape (5, features)."""
    count = np.maximum(sums[_COUNT], 1.0)
    mean = sums[_TOTAL] / count
    variance = np.maximum(sums[_SQUARE] / count - mean**2, 0.0)
    square = variance + (shift + mean) ** 2
    return variance, square, variance <= MIN_RELATIVE_SPREAD**2 * square


def scale_features(sums: np.ndarray, shift: np.ndarray, inner: float, lost_degrees: float | None) -> np.ndarray:
    """The variance that each feature's error is held against, shape (features,).

    That is its own, between samples. With too few samples, or where nothing varies, the mean variance inside a sample
    stands in; for a feature that is constant beside others that vary, and for one constant number, its mean square.

    Args:
        sums: Shape (5, features).
        shift: What was taken off the values before they were summed, shape (features,).
        inner: The mean variance inside a sample.
        lost_degrees: See :data:`LOST_DEGREES`; None with too few samples to tell how features vary between them.
    """
    variance, square, constant = describe_features(sums, shift)
    if lost_degrees is None or constant.all():
        return np.full(len(variance), inner) if inner > 0 else np.asarray(np.maximum(square, square.mean()))
    variance = variance * sums[_COUNT] / np.maximum(sums[_COUNT] - lost_degrees, 1.0)
    if len(variance) > MAX_SEPARATE_FEATURES:
        return np.asarray(np.maximum(variance, MIN_SHARE_OF_VARIANCE * variance.mean()))
    scale = np.where(constant, square, variance)
    return np.asarray(np.where(scale > 0, scale, variance[~constant].mean()))


def score_relative_error(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    energy = np.square(np.nan_to_num(flatten_samples(original), posinf=0, neginf=0)).sum(axis=1)
    if outputs.shape != original.shape:  # nothing to subtract: as far apart as two things that share nothing
        error = energy + np.square(flatten_samples(outputs)).sum(axis=1)
    else:
        error = np.square(difference(flatten_samples(original), flatten_samples(outputs))).sum(axis=1)
    return np.stack([np.where(np.isnan(error), np.inf, error), energy], axis=1)


def finish_relative(means: np.ndarray) -> np.ndarray:
    error, energy = means[:, 0], means[:, 1]
    ratio = np.divide(error, energy, out=np.where(error > 0, np.inf, 0.0), where=energy > 0)
    return np.asarray(1 - np.sqrt(ratio))


def score_errors(name: str, measure: Callable[[np.ndarray], np.ndarray]) -> PartsFunction:
    def deviations(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return as_column(measure(flatten_samples(outputs) - check_numeric_labels(name, labels, outputs)).mean(axis=1))

    return deviations


def take_root(means: np.ndarray) -> np.ndarray:
    """The root of the mean, shape (m, 1) → (m,)."""
    return np.asarray(np.sqrt(means[:, 0]))
