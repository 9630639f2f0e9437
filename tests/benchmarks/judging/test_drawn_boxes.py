"""Boxes that were drawn and boxes that were found: decoded, thinned out, counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from judging.drawn_boxes import MAX_IOU, decode, judge, suppress

TRUTH = np.array([[10.0, 20.0, 42.0, 60.0, 1.0], [70.0, 8.0, 96.0, 40.0, 0.0], [0, 0, 0, 0, -1]], np.float32)


def make_decoded(shift: float = 0.0, missed: int = 0) -> dict[str, np.ndarray]:
    """Each drawn box twice, the second a little off and weaker; the last ``missed`` of them not at all."""
    found = TRUTH[: 2 - missed]
    corners = np.concatenate([found[:, :4] + shift, found[:, :4] + shift + 1])
    scores = np.zeros((len(corners), 2), np.float32)
    scores[np.arange(len(corners)), np.tile(found[:, 4].astype(int), 2)] = np.repeat([0.9, 0.6], len(found))
    return {"boxes": corners[None], "scores": scores[None]}


def test_heads_are_decoded_to_the_boxes_that_they_were_made_of() -> None:
    classes, distances = np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 4, 8, 8), np.float32)
    classes[0, 1, 3, 1] = 0.8
    center = np.array([1.5, 3.5]) * 8
    distances[0, :, 3, 1] = np.log(np.concatenate([center - TRUTH[0, :2], TRUTH[0, 2:4] - center]) / 8)
    coarse = {"classes_16": np.zeros((1, 2, 4, 4), np.float32), "distances_16": np.zeros((1, 4, 4, 4), np.float32)}
    corners, scores = decode({"classes_8": classes, "distances_8": distances, **coarse})
    assert corners.shape == (64 + 16, 4)
    corners, best, kinds = suppress(corners, scores)
    np.testing.assert_allclose(corners, TRUTH[:1, :4], rtol=1e-5)
    assert (best.tolist(), kinds.tolist()) == ([pytest.approx(0.8)], [1])


def test_of_boxes_of_a_class_that_overlap_the_best_stays() -> None:
    corners, scores = decode(make_decoded())
    kept, best, kinds = suppress(corners, scores)
    np.testing.assert_array_equal(kept, TRUTH[:2, :4])
    assert (best.tolist(), sorted(kinds)) == ([pytest.approx(0.9)] * 2, [0, 1])
    apart = corners + np.arange(4)[:, None] * 1000 * (1 - MAX_IOU)
    assert len(suppress(apart, scores)[0]) == 4


def test_ap_counts_what_is_found_where_it_was_drawn(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    np.savez(tmp_path / "drawn.npz", labels=np.stack([TRUTH, TRUTH]))
    spec, whole = f"drawn:{tmp_path / 'drawn.npz'}", [make_decoded()] * 2
    assert judge(spec, whole, whole) == {"ap": [1.0, 1.0], "ap_kept": 1.0}
    assert judge(spec, whole, [make_decoded(missed=1)] * 2)["ap_kept"] == pytest.approx(0.5, abs=0.01)
    assert 0 < judge(spec, whole, [make_decoded(shift=4.0)] * 2)["ap_kept"] < 0.7
    assert judge(spec, whole, [{"boxes": np.zeros((1, 4, 4)), "scores": np.zeros((1, 4, 2))}] * 2)["ap"] == [1.0, 0.0]
