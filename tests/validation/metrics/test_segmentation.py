"""Overlaps of maps against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from onnxslim.core.errors import UsageError
from tests.support.metric_values import judge, metric_value

RNG = np.random.default_rng(0)


def test_miou_is_the_jaccard_score_over_the_classes_that_occur() -> None:
    scores, labels = RNG.normal(size=(4, 5, 6, 7)).astype(np.float32), RNG.integers(0, 4, (4, 6, 7))
    scores[:, 4] = -9  # a class that neither names
    expected = sk.jaccard_score(labels.ravel(), scores.argmax(1).ravel(), average="macro")
    assert metric_value("miou", scores, labels=labels) == pytest.approx(expected)


def test_of_a_single_map_miou_judges_what_is_above_a_half() -> None:
    scores = np.array([[[[0.9, 0.2], [0.7, 0.4]]]], np.float32)
    truth = np.array([[[1, 0], [0, 0]]])
    expected = sk.jaccard_score(truth.ravel(), [1, 0, 1, 0], average="macro")
    assert metric_value("miou", scores, labels=truth) == pytest.approx(expected)


def test_miou_leaves_out_pixels_whose_label_is_no_class() -> None:
    scores = np.zeros((1, 2, 1, 2), np.float32)
    assert metric_value("miou", scores, labels=np.array([[[0, 255]]])) == 1


def test_iou_is_the_mean_over_samples_of_what_the_foreground_shares() -> None:
    a, b = RNG.random((2, 6, 1, 9, 8)) ** 2
    expected = np.mean([sk.jaccard_score((x > 0.5).ravel(), (y > 0.5).ravel()) for x, y in zip(a, b, strict=True)])
    logits = [np.log(values / (1 - values)) for values in (b, a)]
    two = [np.concatenate([1 - values, values], axis=1) for values in (b, a)]
    last = [np.moveaxis(values, 1, -1) for values in two]
    numbers = [(values[:, 0] > 0.5).astype(np.int64) for values in (b, a)]
    for result, original in ((b, a), logits, two, last, numbers):
        assert metric_value("iou", result, original) == pytest.approx(expected)


def test_of_many_classes_iou_is_the_mean_over_those_that_the_original_sees_in_a_sample() -> None:
    a, b = (RNG.integers(0, 4, (5, 12, 12)) for _ in range(2))
    a[0] = 2
    scores = [np.moveaxis(np.eye(5)[values], -1, 1) for values in (b, a)]
    by_sample = []
    for x, y in zip(a, b, strict=True):
        by_class = sk.jaccard_score(x.ravel(), y.ravel(), average=None, labels=np.unique(x))
        by_sample.append(by_class.mean())
    assert metric_value("iou", *scores) == pytest.approx(np.mean(by_sample))


def test_maps_in_which_nothing_is_marked_are_no_evidence_so_that_an_empty_result_is_not_nearly_right() -> None:
    a = np.zeros((100, 1, 8, 8))
    a[0, 0, 2:5, 2:5] = 0.9
    assert metric_value("iou", a, a) == 1
    assert metric_value("iou", np.zeros_like(a), a) == 0
    assert metric_value("iou", np.zeros_like(a), np.zeros_like(a)) == 1
    assert metric_value("iou", np.full_like(a, np.nan), np.zeros_like(a)) == 0
    for numbers in (np.int64, np.bool_):
        maps = (a[:, 0] > 0.5).astype(numbers)
        assert metric_value("iou", np.zeros_like(maps), maps) == 0
        assert metric_value("iou", maps, maps) == 1


def test_iou_does_not_depend_on_the_classes_that_a_batch_happens_to_show() -> None:
    a, b = RNG.integers(0, 3, (2, 8, 12, 12))
    a[:4] = np.minimum(a[:4], 1)
    assert judge("iou", b, a, 4).result == pytest.approx(judge("iou", b, a, 8).result)
    with pytest.raises(UsageError, match="expected maps"):
        metric_value("iou", np.zeros((3, 4)))
