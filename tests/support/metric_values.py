"""The value of a metric on arrays, and outputs of every kind that metrics judge by the original's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from onnxslim.validation.metrics.accumulator import MetricAccumulator, MetricResult
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.table import METRICS


def metric_value(
    name: str, outputs: np.ndarray, original: np.ndarray | None = None, labels: np.ndarray | None = None
) -> float:
    """The metric ``name`` of ``outputs``, judged by labels or by ``original`` (by default by themselves)."""
    metric = METRICS[name]
    parts = metric.parts(outputs, outputs if original is None else original, labels)
    assert parts.shape[0] == len(outputs)
    return float(metric.finish(parts.mean(axis=0, keepdims=True))[0])


def judge(name: str, result: np.ndarray, original: np.ndarray, batch: int = 64) -> MetricResult:
    """The metric ``name`` of ``result`` against ``original``, in batches."""
    if name in DATASET_METRICS:
        metric = DATASET_METRICS[name]()
        for start in range(0, len(original), batch):
            cut = slice(start, start + batch)
            metric.add(result[cut], original[cut], None, len(original[cut]))
        return metric.compute()
    tally = MetricAccumulator(METRICS[name])
    for start in range(0, len(original), batch):
        tally.add(result[start : start + batch], original[start : start + batch], None)
    return tally.compute()


def lost_points(name: str, result: np.ndarray, original: np.ndarray, batch: int = 64) -> float:
    """How many points of top-1 the drop weighs as much as."""
    drop = judge(name, result, original, batch).scaled_drop
    assert drop is not None
    return 100 * drop


@dataclass(frozen=True)
class MetricCase:
    """Outputs of one kind for a metric that compares with the original.

    Attributes:
        name: The metric.
        draw: (generator, samples) → the original's outputs.
        of_point: The standard deviation of normal noise that costs about one point.
    """

    name: str
    draw: Callable[[np.random.Generator, int], np.ndarray]
    of_point: float


def draw_scores(rng: np.random.Generator, n: int) -> np.ndarray:
    """Logits of ten classes, as sure as a trained network's."""
    return 3 * rng.normal(size=(n, 10))


def draw_steps(rng: np.random.Generator, n: int) -> np.ndarray:
    """Logits (n, 7, 10)."""
    return 3 * rng.normal(size=(n, 7, 10))


def draw_numbers(rng: np.random.Generator, n: int) -> np.ndarray:
    """Three numbers of standard deviation 1 around a thousand."""
    return 1000 + rng.normal(size=(n, 3))


def draw_wave(rng: np.random.Generator, n: int) -> np.ndarray:
    """Waves of 400 places."""
    return rng.normal(size=(n, 400))


def draw_vectors(rng: np.random.Generator, n: int) -> np.ndarray:
    """Embeddings of 48 numbers with a common offset, in clusters."""
    centers = rng.normal(size=(6, 48))
    return centers[np.arange(n) % 6] + 0.7 * rng.normal(size=(n, 48)) + 1.5


def draw_images(rng: np.random.Generator, n: int) -> np.ndarray:
    """Images (n, 3, 12, 12) from 0 to 1."""
    return 0.1 + 0.8 * rng.random((n, 3, 12, 12))


def draw_blobs(rng: np.random.Generator, n: int, size: int = 24) -> np.ndarray:
    """A disc in each map, probabilities (n, 1, size, size)."""
    y, x = np.mgrid[:size, :size]
    center = rng.uniform(8, size - 8, (n, 2, 1, 1))
    distance = np.hypot(y - center[:, 0], x - center[:, 1])
    return special.expit(2 * (6 - distance))[:, None]


def draw_class_maps(rng: np.random.Generator, n: int) -> np.ndarray:
    """Scores (n, 3, 24, 24): a disc, a stripe and what is behind."""
    disc = draw_blobs(rng, n)
    stripe = np.zeros_like(disc)
    stripe[:, :, 18:] = 0.9
    return np.concatenate([np.full_like(disc, 0.3), disc, stripe], axis=1)


CASES = (
    MetricCase("agreement", draw_scores, 0.04),
    MetricCase("confidence", draw_scores, 0.35),
    MetricCase("tokens", draw_steps, 0.35),
    MetricCase("kl", draw_steps, 0.2),
    MetricCase("variance", draw_numbers, 0.1),
    MetricCase("variance", draw_wave, 0.1),
    MetricCase("deviation", draw_numbers, 0.05 * np.sqrt(np.pi / 2)),
    MetricCase("deviation", draw_wave, 0.05 * np.sqrt(np.pi / 2)),
    MetricCase("similarity", draw_vectors, 0.17),
    MetricCase("neighbors", draw_vectors, 0.07),
    MetricCase("psnr", draw_images, 10 ** (-35 / 20)),
    MetricCase("iou", draw_blobs, 0.04),
    MetricCase("iou", draw_class_maps, 0.04),
    MetricCase("miou", draw_class_maps, 0.02),
    MetricCase("f1", draw_blobs, 0.04),
    MetricCase("relative", draw_wave, 0.01),
)
