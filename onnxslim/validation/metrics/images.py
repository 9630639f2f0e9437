"""Images that a model gives out, beside the original's: the error as a share of the brightest that they can show."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.accumulator import MetricResult, compare_paired
from onnxslim.validation.metrics.dataset_metric import DatasetMetric, require_original

#: The ranges that pixels have by custom: (lowest, highest). Values a little outside are cut off when they are shown.
CUSTOMARY_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
#: Pixels may lie outside by a share of the range, and a share of them further: networks overshoot at edges.
MARGIN, MAX_SHARE_OUTSIDE = 0.05, 0.02
#: What is seen fills at least this share of a range.
MIN_SHARE_FILLED = 0.1
#: The PSNR that one point stands for, in dB.
PSNR_OF_POINT = 35.0


def count_outside(images: np.ndarray) -> np.ndarray:
    """Pixels that lie outside each of the customary ranges, shape (3,)."""
    counts = []
    for low, high in CUSTOMARY_RANGES:
        margin = MARGIN * (high - low)
        counts.append(np.count_nonzero((images < low - margin) | (images > high + margin)))
    return np.array(counts)


def find_pixel_range(low: float, high: float, shares_outside: np.ndarray) -> tuple[float, float]:
    """The range of pixels, of which ``low`` to ``high`` were seen: the least customary one that fits, else what was seen.

    Args:
        low: The lowest value.
        high: The highest.
        shares_outside: Of all pixels, by :data:`CUSTOMARY_RANGES`.
    """
    for (bottom, top), outside in zip(CUSTOMARY_RANGES, shares_outside, strict=True):
        if outside <= MAX_SHARE_OUTSIDE and high - low >= MIN_SHARE_FILLED * (top - bottom):
            return bottom, top
    return low, high


def measure_square_errors(result: np.ndarray, original: np.ndarray) -> np.ndarray:
    """The mean square error of each image, once each range's end is cut off, the last time as it is; (n, 4)."""
    a, b = (values.reshape(len(original), -1).astype(np.float64) for values in (original, result))
    cut = [(np.clip(a, low, high), np.clip(b, low, high)) for low, high in CUSTOMARY_RANGES]
    return np.stack([np.square(x - y).mean(axis=1) for x, y in (*cut, (a, b))], axis=1)


class ImageErrorMetric(DatasetMetric):
    """The root mean square error of images as a share of their peak: 10^(-PSNR / 20).

    35 dB, at which a change is hardly seen, is one point. The peak is that of the customary range that the original's
    pixels lie in (1, 255, or 2 from -1 to 1), else the range seen.
    """

    name, display_name, point = "psnr", "Error of the peak", 10 ** (-PSNR_OF_POINT / 20)
    higher_is_better = False

    def __init__(self) -> None:
        self._errors: list[np.ndarray] = []
        self._low, self._high = math.inf, -math.inf
        self._outside, self._pixels = np.zeros(len(CUSTOMARY_RANGES)), 0

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """See :meth:`.DatasetMetric.add`; images of any layout."""
        expected = require_original(self.name, original)
        if expected.dtype.kind not in "fiu" or expected.ndim < 3:
            raise UsageError(
                f"metric {self.name}: expected images, got {expected.dtype} of shape {expected.shape}",
                hint="name such an output with --output",
            )
        if expected.size:
            self._low = min(self._low, float(np.nanmin(expected)))
            self._high = max(self._high, float(np.nanmax(expected)))
            self._outside += count_outside(expected)
            self._pixels += expected.size
        if result.shape != expected.shape:
            self._errors.append(np.full((len(expected), len(CUSTOMARY_RANGES) + 1), math.inf))
        else:
            errors = measure_square_errors(result, expected)
            self._errors.append(np.nan_to_num(errors, nan=math.inf, posinf=math.inf))

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`."""
        low, high = find_pixel_range(self._low, self._high, self._outside / max(self._pixels, 1))
        column = CUSTOMARY_RANGES.index((low, high)) if (low, high) in CUSTOMARY_RANGES else len(CUSTOMARY_RANGES)
        peak = high - low
        errors = np.concatenate(self._errors)[:, column : column + 1]
        # an image that has nothing in common with its original is wholly wrong, and no more than that
        shares = np.minimum(errors / peak**2, 1.0) if peak > 0 else (errors > 0).astype(float)
        compared = compare_paired(
            self.name, np.zeros_like(shares), shares, lambda means: np.sqrt(means[:, 0]), higher_is_better=False,
            by_definition=True,
        )  # fmt: skip
        decibels = f"{-20 * math.log10(compared.result):.1f} dB" if compared.result else "no error"
        note = f"PSNR {decibels}, peak {peak:.4g}"
        return replace(compared, share=True, higher_is_better=False, point=self.point, note=note)
