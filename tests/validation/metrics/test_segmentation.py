"""Overlaps of maps against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from tests.support.metric_values import metric_value

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
