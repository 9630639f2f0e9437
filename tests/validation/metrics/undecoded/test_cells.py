"""Cells that fire and their boxes: what is counted, that noise is seen, and that a broken head fails."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from tests.support import toy_detector

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


def test_an_object_counts_once_whether_it_is_lost_made_up_or_renamed() -> None:
    original = np.zeros((1, CELLS, 9))
    original[..., :4] = np.random.default_rng(0).normal(size=(1, CELLS, 4))
    original[0, :50:5, 4], original[0, :50:5, 6] = 0.9, 0.9
    result = original.copy()
    result[0, 0, 4] = 0.05  # lost
    result[0, 100, 4], result[0, 100, 6] = 0.9, 0.9  # made up
    result[0, 5, 7] = 1.0  # renamed
    found = judge_heads("cells", result, original)
    assert found.result == pytest.approx(2 * 8 / (10 + 10))
    assert judge_heads("offsets", result, original).drop == 0


def test_of_one_object_the_highest_cell_counts_and_may_be_another_beside_it() -> None:
    original = np.zeros((1, CELLS, 9))
    original[..., :4] = np.random.default_rng(0).normal(size=(1, CELLS, 4))
    original[..., 6] = 1
    original[0, 10:13, 4] = 0.6, 0.9, 0.55
    fewer, beside, away = original.copy(), original.copy(), original.copy()
    fewer[0, [10, 12], 4] = 0.02
    beside[0, 10:13, 4] = 0.7, 0.69, 0.02
    away[0, 10:13, 4], away[0, 20:23, 4] = 0.0, (0.6, 0.9, 0.55)
    assert lost("cells", fewer, original) == lost("cells", beside, original) == 0
    assert judge_heads("cells", away, original).result == 0


def test_a_score_that_changes_counts_by_the_thresholds_that_it_crosses() -> None:
    original = np.zeros((1, CELLS, 9))
    original[..., :4] = np.random.default_rng(0).normal(size=(1, CELLS, 4))
    original[..., 6] = 1
    original[0, [10, 50], 4] = 0.9, 0.3
    weaker, surer = original.copy(), original.copy()
    weaker[0, 50, 4], surer[0, [10, 50], 4] = 0.2, (0.7, 0.3)
    # of thresholds from 0.15 to 0.6 the second object is there up to 0.3, then up to 0.2
    assert judge_heads("cells", weaker, original).result == pytest.approx(2 * (10 / 9) / (4 / 3 + 10 / 9))
    assert lost("cells", surer, original) == 0


def test_what_is_lost_is_what_decoded_boxes_lose() -> None:
    logits, noise = toy_detector.draw_cells(60), toy_detector.draw_noise(60)
    original = toy_detector.finish(logits)
    assert toy_detector.measure_box_f1(original, original) == (1, 1)
    told = []
    for size in (0.02, 0.05, 0.1, 0.2, 0.4):
        result = toy_detector.finish(logits + size * noise)
        told.append((judge_heads("cells", result, original).drop or 0, 1 - toy_detector.measure_box_f1(result, original)[0]))
    assert all(cells < 2 * boxes + 0.005 and boxes < 2 * cells + 0.005 for cells, boxes in told), told
    assert all(later > earlier for (earlier, _), (later, _) in itertools.pairwise(told))


@pytest.mark.parametrize("size", [0.05, 0.1, 0.2, 0.4, 0.8, 1.5])
def test_heads_within_a_point_keep_their_boxes(size: float) -> None:
    logits, noise = toy_detector.draw_cells(60, seed=2), toy_detector.draw_noise(60, seed=3)
    original, result = toy_detector.finish(logits), toy_detector.finish(logits + size * noise)
    worst = max(lost("cells", result, original), lost("offsets", result, original))
    loosely, tightly = toy_detector.measure_box_f1(result, original)
    if worst <= 1:
        assert loosely >= 0.97
        assert tightly >= 0.95
    if loosely < 0.95 or tightly < 0.9:
        assert worst > 1


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


def test_images_of_other_sizes_have_grids_of_their_own() -> None:
    """Neighbors are found in the grid of the image at hand, whichever came first."""
    heads = [np.full((2, 5, side, side), 0.01) for side in (8, 12)]
    for head in heads:
        head[:, 4] = 0.001
        head[:, 4, 2, 3], head[:, 4, 3, 3], head[:, 4, 6, 6] = 0.9, 0.8, 0.7
    alone = [judge_heads("cells", head, head).result for head in heads]
    for order in (heads, heads[::-1]):
        metric = DATASET_METRICS["cells"]()
        for head in order:
            metric.add({"output": head}, {"output": head}, None, len(head))
        found = metric.compute()
        assert found.drop == 0
        assert found.n == 4
    assert alone == [1.0, 1.0]
