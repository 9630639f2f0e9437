"""Detectors' heads in every layout that exporters write, read without being told which."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from onnxslim.validation.metrics.undecoded.heads import as_cells, find_heads

CLASSES, SIDE = 4, 6


def draw_head(seed: int = 0, *, objectness: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Box numbers, objectness and class scores (2, 36, …) of a grid where a few cells see an object."""
    rng = np.random.default_rng(seed)
    cells = SIDE * SIDE
    boxes = rng.normal(0.5, 1, (2, cells, 4))
    present = np.full((2, cells, 1), 0.001)
    classes = 0.02 * rng.random((2, cells, CLASSES))
    for image in range(2):
        for cell in rng.choice(cells, 5, replace=False):
            present[image, cell] = rng.uniform(0.6, 0.95)
            classes[image, cell, rng.integers(0, CLASSES)] = rng.uniform(0.7, 0.99)
    return boxes, present if objectness else np.zeros((2, cells, 0)), classes


def expected_scores(present: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return classes.max(axis=2) * (present[..., 0] if present.shape[2] else 1.0)


def grid(values: np.ndarray) -> np.ndarray:
    """(n, cells, channels) as (n, channels, side, side)."""
    return values.transpose(0, 2, 1).reshape(len(values), -1, SIDE, SIDE)


LAYOUTS = {
    "boxes first": lambda b, p, c: {"out": np.concatenate([b, p, c], axis=2)},
    "objectness first": lambda b, p, c: {"out": np.concatenate([p, b, c], axis=2)},
    "channels before cells": lambda b, p, c: {"out": np.concatenate([b, p, c], axis=2).transpose(0, 2, 1)},
    "a map": lambda b, p, c: {"out": grid(np.concatenate([b, p, c], axis=2))},
    "a map, channels last": lambda b, p, c: {"out": np.concatenate([b, p, c], axis=2).reshape(2, SIDE, SIDE, -1)},
    "five axes": lambda b, p, c: {"out": np.concatenate([b, p, c], axis=2).reshape(2, 1, SIDE, SIDE, -1)},
    "several tensors": lambda b, p, c: {"bbox_8": b, "obj_8": p, "cls_8": c},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("logits", [False, True])
def test_scores_and_boxes_are_told_apart_by_their_values(layout: str, logits: bool) -> None:
    boxes, present, classes = draw_head()
    if logits:
        outputs = LAYOUTS[layout](boxes, special.logit(present), special.logit(np.clip(classes, 1e-4, 1)))
    else:
        outputs = LAYOUTS[layout](boxes, present, classes)
    (head,) = find_heads(outputs, 2)
    assert head.are_logits == logits
    assert head.objectness is not None
    scores, chosen, numbers = head.read(outputs)
    fires = scores >= 0.25
    assert np.allclose(scores[fires], expected_scores(present, classes)[fires], atol=1e-6)
    assert np.array_equal(fires, expected_scores(present, classes) >= 0.25)
    assert np.array_equal(chosen[fires], classes.argmax(axis=2)[fires])
    assert np.allclose(numbers, boxes)


@pytest.mark.parametrize("layout", ["boxes first", "a map", "several tensors"])
def test_without_an_objectness_the_first_class_is_not_taken_for_one(layout: str) -> None:
    boxes, present, classes = draw_head(objectness=False)
    outputs = {name: values for name, values in LAYOUTS[layout](boxes, present, classes).items() if values.size}
    (head,) = find_heads(outputs, 2)
    assert head.objectness is None
    scores, chosen, numbers = head.read(outputs)
    assert np.allclose(scores, classes.max(axis=2))
    assert np.array_equal(chosen, classes.argmax(axis=2))
    assert np.allclose(numbers, boxes)


def test_anchors_of_a_cell_are_cells_of_their_own() -> None:
    anchors = [np.concatenate(draw_head(seed), axis=2) for seed in range(3)]
    outputs = {"out": np.concatenate([grid(values) for values in anchors], axis=1)}
    (head,) = find_heads(outputs, 2)
    assert head.channels == 4 + 1 + CLASSES
    scores = head.read(outputs)[0].reshape(2, SIDE * SIDE, 3)
    for index, values in enumerate(anchors):
        assert np.allclose(scores[:, :, index], values[..., 4] * values[..., 5:].max(axis=2))


def test_a_class_score_that_is_high_where_nothing_is_belongs_to_the_scores_beside_an_objectness() -> None:
    boxes, present, _ = draw_head()
    sure = np.full((2, SIDE * SIDE, 1), 0.97) + 0.02 * np.random.default_rng(0).random((2, SIDE * SIDE, 1))
    for outputs in ({"out": np.concatenate([boxes, present, sure], axis=2)}, {"bbox": boxes, "obj": present, "cls": sure}):
        (head,) = find_heads(outputs, 2)
        scores, _, numbers = head.read(outputs)
        assert np.allclose(scores, present[..., 0] * sure[..., 0])
        assert numbers.shape[2] == 4


def test_several_grids_are_several_heads() -> None:
    rng = np.random.default_rng(0)
    small = np.concatenate(draw_head(), axis=2)
    large = np.concatenate([small] * 4, axis=1)[:, rng.permutation(4 * SIDE * SIDE)]
    assert [head.names for head in find_heads({"stride16": small, "stride8": large}, 2)] == [("stride16",), ("stride8",)]


def test_what_is_no_head_is_none() -> None:
    rng = np.random.default_rng(0)
    assert find_heads({"tokens": rng.normal(size=(2, 20, 8))}, 2) == []
    assert find_heads({"classes": rng.random((2, 9))}, 2) == []
    assert find_heads({"nothing": np.full((2, 9, 6), np.nan)}, 2) == []


def test_of_three_axes_the_longer_counts_cells() -> None:
    values = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    assert as_cells(values).shape == (2, 5, 3)
    assert np.array_equal(as_cells(values), as_cells(values.transpose(0, 2, 1)))


def test_a_background_among_classes_that_exclude_each_other_never_fires() -> None:
    boxes, _, classes = draw_head(objectness=False)
    shares = np.concatenate([1 - classes.sum(axis=2, keepdims=True).clip(0, 1), classes], axis=2)
    shares /= shares.sum(axis=2, keepdims=True)
    outputs = {"loc": boxes, "conf": shares}
    (head,) = find_heads(outputs, 2)
    scores, chosen, numbers = head.read(outputs)
    assert np.allclose(scores, shares[..., 1:].max(axis=2))
    assert np.array_equal(chosen, classes.argmax(axis=2))
    assert np.allclose(numbers, boxes)
