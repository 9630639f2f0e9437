"""Average precision over a data set, with its interval."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS, DetectionAccumulator

CORNERS = np.array([[10, 10, 30, 30], [50, 50, 90, 80], [5, 60, 25, 90]], np.float32)
SCORES = np.array([0.9, 0.6, 0.8], np.float32)
CLASSES = np.array([1, 0, 1])


def test_an_original_is_perfect_against_its_own_boxes_and_another_loses_what_it_misses() -> None:
    original = {"out": np.concatenate([CORNERS, SCORES[:, None], CLASSES[:, None]], axis=1)[None].astype(np.float32)}
    less = {"out": original["out"][:, 1:]}
    tally = DetectionAccumulator()
    for _ in range(4):
        tally.add(less, original, None, 1)
    found = tally.compute()
    assert found.original == 1.0
    assert found.result == pytest.approx((1 + 51 / 101) / 2)  # class 0 whole; of class 1 one of two, recall to 0.50
    assert found.drop == pytest.approx(1 - found.result)
    assert found.interval is not None


@pytest.mark.parametrize("name", ["ap", "box_f1"])
def test_a_result_with_more_boxes_than_scores_has_lost_what_was_in_the_image(name: str) -> None:
    tally = DATASET_METRICS[name]()
    whole = {"boxes": CORNERS, "scores": SCORES, "labels": CLASSES}
    tally.add(whole, whole, None, 1)
    tally.add({**whole, "scores": SCORES[:2]}, whole, None, 1)
    found = tally.compute()
    assert found.original == 1.0
    assert found.result == pytest.approx({"ap": 0.5, "box_f1": 2 / 3}[name], abs=0.01)
    with pytest.raises(UsageError, match=r"boxes boxes have not as many scores .* scores \(2,\)"):
        tally.add(whole, {**whole, "scores": SCORES[:2]}, None, 1)


def test_labels_are_boxes_filled_up_with_class_minus_one() -> None:
    labels = np.full((1, 5, 5), -1.0)
    labels[0, :3] = np.concatenate([CORNERS, CLASSES[:, None]], axis=1)
    outputs = {"boxes": CORNERS, "labels": CLASSES, "scores": SCORES}
    tally = DetectionAccumulator()
    tally.add(outputs, outputs, labels, 1)
    assert tally.compute().result == 1.0
    with pytest.raises(InvalidDataError, match=r"\(N, K, 5\)"):
        DetectionAccumulator().add(outputs, outputs, np.zeros(1, np.int64), 1)


def test_images_that_show_nothing_are_no_evidence() -> None:
    tally = DetectionAccumulator()
    nothing = {"out": np.zeros((1, 3, 6), np.float32)}
    tally.add(nothing, nothing, None, 1)
    with pytest.raises(InvalidDataError, match="no true boxes in 1 samples; the original finds none"):
        tally.compute()


def shift_boxes(share: float, n: int) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Images of three boxes each, and the same moved to the right by ``share`` of their width."""
    moved = CORNERS.copy()
    moved[:, [0, 2]] += share * (CORNERS[:, 2] - CORNERS[:, 0])[:, None]
    original, result = ({"boxes": c, "scores": SCORES, "labels": CLASSES} for c in (CORNERS, moved))
    return [original] * n, [result] * n


@pytest.mark.parametrize(("share", "loose", "tight"), [(0.0, 1.0, 1.0), (0.2, 1.0, 0.0), (0.5, 0.0, 0.0)])
def test_boxes_that_moved_are_found_at_an_overlap_of_a_half_and_not_of_three_quarters(
    share: float, loose: float, tight: float
) -> None:
    for name, expected in (("box_f1", loose), ("box_f1_75", tight)):
        tally = DATASET_METRICS[name]()
        for original, result in zip(*shift_boxes(share, 5), strict=True):
            tally.add(result, original, None, 1)
        found = tally.compute()
        assert (found.original, found.result) == (1.0, expected)
        assert found.scaled_drop == pytest.approx((1 - expected) * 0.01 / found.point)


def test_f1_counts_what_is_missed_and_what_is_made_up() -> None:
    original = {"boxes": CORNERS, "scores": SCORES, "labels": CLASSES}
    result = {"boxes": CORNERS, "scores": np.array([0.9, 0.2, 0.8], np.float32), "labels": np.array([1, 0, 0])}
    tally = DATASET_METRICS["box_f1"]()
    tally.add(result, original, None, 1)
    assert tally.compute().result == pytest.approx(2 * 1 / (2 + 3)), "one lost by its score, one by its class"


def test_what_roundings_of_one_model_differ_by_counts_against_labels_only() -> None:
    original, result = (images[0] for images in shift_boxes(0.1, 1))  # an overlap of 0.82
    truths = np.concatenate([CORNERS, CLASSES[:, None]], axis=1)[None]
    by_labels, by_itself = DetectionAccumulator(), DetectionAccumulator()
    by_labels.add(result, original, truths, 1)
    by_itself.add(result, original, None, 1)
    assert by_labels.compute().drop == pytest.approx(0.3), "not found at 0.85, 0.9 and 0.95"
    assert by_itself.compute().drop == 0
    assert by_labels.compute().point < by_itself.compute().point


@pytest.mark.parametrize("name", ["ap", "box_f1"])
def test_few_boxes_prove_little_however_many_images_show_none(name: str) -> None:
    original = {"boxes": CORNERS, "scores": SCORES, "labels": CLASSES}
    empty = {"boxes": CORNERS[:0], "scores": SCORES[:0], "labels": CLASSES[:0]}
    tally = DATASET_METRICS[name]()
    for image in range(60):
        found = original if image < 7 else empty
        tally.add({k: v[1:] for k, v in found.items()} if image == 0 else found, found, None, 1)
    result = tally.compute()
    assert result.drop is not None
    assert result.interval is not None
    low, high = result.interval
    assert low < 0.01 < result.drop, "one of 21 boxes may be none of many"
    assert high > 3 * result.drop, "or several"
