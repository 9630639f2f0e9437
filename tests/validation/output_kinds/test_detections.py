"""Boxes and undecoded heads, by name and by what their values are."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.output_kinds.recognition import recognize
from tests.support.observed import IMAGE, name_kinds, observe_outputs, softmax

RNG = np.random.default_rng(0)
N, CELLS, CLASSES = 6, 84, 5


def make_scores(fires: bool = True) -> np.ndarray:
    """Of cells (N, CELLS, CLASSES): a few are high, and all others next to nothing."""
    scores = RNG.uniform(0, 0.02, size=(N, CELLS, CLASSES))
    if fires:
        scores[:, ::20, 2] = 0.9
    return scores


def make_boxes() -> np.ndarray:
    """Centers and sides in pixels."""
    return np.concatenate([RNG.uniform(10, 54, (N, CELLS, 2)), RNG.uniform(4, 20, (N, CELLS, 2))], axis=2)


def test_outputs_called_boxes_and_scores_are_boxes_and_one_tensor_of_both_is() -> None:
    corners = np.sort(RNG.uniform(0, 60, (N, 7, 2, 2)), axis=2).reshape(N, 7, 4)
    given = {"boxes": corners, "scores": RNG.uniform(0.5, 1, (N, 7)), "labels": np.zeros((N, 7))}
    (kind,) = recognize(observe_outputs(given, IMAGE))
    assert (kind.name, kind.outputs) == ("boxes", ("boxes", "scores", "labels"))
    assert kind.gates[0] == "ap"
    yolo = np.concatenate([make_boxes(), make_scores()], axis=2).transpose(0, 2, 1)
    assert name_kinds({"output0": yolo}, inputs=IMAGE) == ["boxes"]


def test_a_detector_that_finds_nothing_on_the_data_is_judged_by_its_tensors() -> None:
    given = {"boxes": make_boxes(), "scores": make_scores(fires=False)}
    assert "boxes" not in name_kinds(given, inputs=IMAGE)


def test_cells_that_are_not_decoded_are_heads_in_one_tensor_and_in_several() -> None:
    offsets, presence = RNG.normal(size=(N, CELLS, 4)), make_scores()[..., 2:3]
    one = np.concatenate([offsets, presence, make_scores()], axis=2)
    (kind,) = recognize(observe_outputs({"output": one}, IMAGE))
    assert (kind.name, kind.gates) == ("detector heads", ("cells", "offsets"))
    several = {"cls_8": make_scores(), "obj_8": presence, "bbox_8": offsets}
    (kind,) = recognize(observe_outputs(several, IMAGE))
    assert set(kind.outputs) == set(several)


def test_scores_of_frames_and_of_pixels_are_neither() -> None:
    frames = softmax(9.0 * np.eye(40)[RNG.integers(0, 40, (N, 20))])
    assert name_kinds({"y": frames}, inputs=IMAGE) == ["token scores"]
    assert name_kinds({"y": make_scores()}) == ["numbers"], "no image goes in"
    regions = softmax(9.0 * np.eye(6)[RNG.integers(0, 6, (N, 16, 16))]).transpose(0, 3, 1, 2)
    assert name_kinds({"y": regions}, inputs=IMAGE) == ["score maps"]
