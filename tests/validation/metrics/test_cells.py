"""Cells that fire and their boxes: what is counted, that noise is seen, and that a broken head fails."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS

CELLS, CLASSES = 150, 5


def draw_heads(n: int, seed: int = 0) -> np.ndarray:
    """Logits of heads (n, cells, 4 + 1 + classes): places and sizes, objectness, classes."""
    rng = np.random.default_rng(seed)
    heads = np.concatenate([rng.normal(0, 0.5, (n, CELLS, 4)), rng.normal(-7, 1, (n, CELLS, 1 + CLASSES))], axis=2)
    for image in heads:
        for cell in rng.choice(CELLS, 9, replace=False):
            image[cell, 4] = rng.normal(1.5, 1.5)
            image[cell, 5 + rng.integers(0, CLASSES)] = rng.normal(3, 1)
    return heads


def finish(heads: np.ndarray) -> np.ndarray:
    """Scores as shares."""
    return np.concatenate([heads[..., :4], special.expit(heads[..., 4:])], axis=2)


def judge_heads(name: str, result: np.ndarray, original: np.ndarray, batch: int = 8) -> MetricResult:
    tally = DATASET_METRICS[name]()
    for start in range(0, len(original), batch):
        cut = slice(start, start + batch)
        tally.add({"out": result[cut]}, {"out": original[cut]}, None, len(original[cut]))
    return tally.compute()


def lost(name: str, result: np.ndarray, original: np.ndarray, batch: int = 8) -> float:
    return 100 * (judge_heads(name, result, original, batch).scaled_drop or 0.0)


@pytest.mark.parametrize("name", ["cells", "offsets"])
def test_noise_that_grows_is_seen_and_a_broken_head_fails_by_far(name: str) -> None:
    heads = draw_heads(60)
    original = finish(heads)
    noise = np.random.default_rng(1).normal(size=heads.shape)
    assert lost(name, original, original) == 0
    seen = [lost(name, finish(heads + size * noise), original) for size in (0.005, 0.05, 0.1, 0.2, 0.5, 2.0)]
    assert seen[0] < 0.5
    assert all(b >= a - 0.1 for a, b in itertools.pairwise(seen)), seen
    assert seen[2] < 8
    assert seen[-1] > 4
    for broken in (
        np.zeros_like(original),
        np.full_like(original, 0.5),
        np.broadcast_to(original.mean(axis=0), original.shape),
        np.roll(original, 7, axis=1),
        np.roll(original, 1, axis=0),
        np.full_like(original, np.nan),
    ):
        assert lost(name, broken, original) > 20


def test_a_cell_counts_once_whether_it_is_lost_made_up_or_renamed() -> None:
    original = np.zeros((1, CELLS, 9))
    original[..., :4] = np.random.default_rng(0).normal(size=(1, CELLS, 4))
    original[0, :10, 4], original[0, :10, 6] = 0.9, 0.9
    result = original.copy()
    result[0, 0, 4] = 0.1  # lost
    result[0, 20, 4], result[0, 20, 6] = 0.9, 0.9  # made up
    result[0, 1, 7] = 1.0  # renamed
    found = judge_heads("cells", result, original)
    assert found.result == pytest.approx(2 * 8 / (10 + 10))
    assert judge_heads("offsets", result, original).drop == 0


def test_batches_of_any_size_give_the_same() -> None:
    heads = draw_heads(12)
    original, result = finish(heads), finish(heads + 0.3 * np.random.default_rng(2).normal(size=heads.shape))
    for name in ("cells", "offsets"):
        whole = judge_heads(name, result, original, 12)
        assert judge_heads(name, result, original, 5).drop == pytest.approx(whole.drop, rel=1e-9)


def test_offsets_are_those_of_cells_that_fire() -> None:
    original = finish(draw_heads(30))
    result = original.copy()
    silent = original[..., 4] < 0.2
    result[silent, :4] += 5
    assert lost("offsets", result, original) == 0
    result = original.copy()
    result[..., :4] += 0.5
    assert lost("offsets", result, original) > 10


def test_an_original_that_is_never_sure_is_measured_by_half_of_its_best() -> None:
    original = finish(draw_heads(10))
    original[..., 4:] *= 0.3
    found = judge_heads("cells", original, original)
    assert found.result == 1
    assert "cells fire from" in found.note


def test_images_that_show_nothing_and_outputs_without_cells_are_refused() -> None:
    nothing = finish(draw_heads(3))
    nothing[..., 4:] = 0.01
    with pytest.raises(InvalidDataError, match="no cell of the original has a score"):
        judge_heads("cells", nothing, nothing)
    with pytest.raises(UsageError, match="no cells with scores in the outputs"):
        judge_heads("cells", np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(UsageError, match="needs a reference model"):
        DATASET_METRICS["cells"]().add({"out": nothing}, None, None, 3)


def test_a_result_of_another_shape_fires_nowhere() -> None:
    original = finish(draw_heads(5))
    assert judge_heads("cells", original[:, :-1], original).result == 0
