"""Detection: every export's boxes are read, order and number do not matter, and AP is COCO's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics import detection
from onnxslim.validation.metrics.detection import IOU_THRESHOLDS, Boxes, average_precision, box_iou, match_boxes, read_boxes
from onnxslim.validation.output_rows import NoRowsError

CORNERS = np.array([[10, 10, 30, 30], [50, 50, 90, 80], [5, 60, 25, 90]], np.float32)
SCORES = np.array([0.9, 0.6, 0.8], np.float32)
CLASSES = np.array([1, 0, 1])


def plain_overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def plain_ap(images: list[tuple[Boxes, Boxes]], overlaps: np.ndarray = IOU_THRESHOLDS) -> float:
    """COCO's protocol, one class, one overlap and one recall level after the other."""
    found = []
    for kind in sorted({int(c) for _, truths in images for c in truths.classes}):
        for least in overlaps:
            ranked, total = [], 0
            for boxes, truths in images:
                mine = [t for t, c in zip(truths.corners, truths.classes, strict=True) if c == kind]
                total += len(mine)
                used = [False] * len(mine)
                for corners, score, c in zip(boxes.corners, boxes.scores, boxes.classes, strict=True):
                    if c != kind:
                        continue
                    best, which = least - 1e-12, None
                    for i, truth in enumerate(mine):
                        if not used[i] and plain_overlap(corners, truth) >= max(best, least):
                            best, which = plain_overlap(corners, truth), i
                    if which is not None:
                        used[which] = True
                    ranked.append((score, which is not None))
            ranked.sort(key=lambda pair: -pair[0])
            right, curve = 0, []
            for place, (_, hit) in enumerate(ranked, 1):
                right += hit
                curve.append((right / total, right / place))
            levels = [max((p for r, p in curve if r >= level - 1e-12), default=0.0) for level in np.linspace(0, 1, 101)]
            found.append(np.mean(levels))
    return float(np.mean(found))


def scene(rng: np.random.Generator, count: int) -> Boxes:
    start = rng.uniform(0, 60, (count, 2))
    corners = np.concatenate([start, start + rng.uniform(10, 40, (count, 2))], axis=1)
    return Boxes(corners, -np.sort(-rng.uniform(0.1, 1, count)), rng.integers(0, 2, count))


def moved(boxes: Boxes, rng: np.random.Generator, by: float) -> Boxes:
    corners = boxes.corners + rng.normal(0, by, boxes.corners.shape)
    extra = scene(rng, 2)
    scores = np.concatenate([rng.uniform(0.1, 1, len(corners)), extra.scores])
    order = np.argsort(-scores)
    corners, classes = np.concatenate([corners, extra.corners]), np.concatenate([boxes.classes, extra.classes])
    return Boxes(corners[order], scores[order], classes[order])


@pytest.mark.parametrize("seed", range(6))
def test_ap_is_what_the_protocol_says_step_by_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [scene(rng, int(rng.integers(0, 5))) for _ in range(6)]
    truths[0] = scene(rng, 3)
    pairs = [(moved(t, rng, 2.0), t) for t in truths]
    assert average_precision([match_boxes(*pair) for pair in pairs]) == pytest.approx(plain_ap(pairs))
    loose = average_precision([match_boxes(*pair) for pair in pairs], 0.75)
    assert loose == pytest.approx(plain_ap(pairs, IOU_THRESHOLDS[:6]))


@given(st.integers(0, 2**20), st.integers(1, 6))
def test_overlaps_are_those_of_single_boxes(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = scene(rng, count).corners, scene(rng, 3).corners
    expected = [[plain_overlap(x, y) for y in b] for x in a]
    assert np.allclose(box_iou(a, b), expected)


def anchors(*, objectness: bool) -> np.ndarray:
    """The three boxes as a detector's head lists them, with weaker near-copies among fifty candidates."""
    columns = 4 + objectness + 2
    head = np.zeros((1, 50, columns), np.float32)
    for row, (box, score, kind) in enumerate(zip(CORNERS, SCORES, CLASSES, strict=True)):
        for copy in range(2):
            place = head[0, 7 * row + copy]
            place[:4] = (*(box[:2] + box[2:]) / 2 + copy, *(box[2:] - box[:2]))
            if objectness:
                place[4] = 1.0
            place[-2 + kind] = score - 0.1 * copy
    return head


def forms() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    listed = np.concatenate([CORNERS, SCORES[:, None], CLASSES[:, None].astype(np.float32)], axis=1)
    yield "listed", {"out": listed[None]}
    yield "shuffled", {"out": listed[None, [2, 0, 1]]}
    yield "filled up", {"out": np.concatenate([listed, np.zeros((4, 6), np.float32)])[None]}
    yield "anchors, channels first", {"output0": anchors(objectness=False).transpose(0, 2, 1)}
    yield "anchors with objectness", {"output": anchors(objectness=True)}
    yield "torchvision", {"boxes": CORNERS, "labels": CLASSES, "scores": SCORES}
    batched = {"num": np.array([3.0], np.float32), "classes": CLASSES[None].astype(np.float32)}
    yield "tensorflow", {**batched, "boxes": CORNERS[None], "scores": SCORES[None]}
    by_class = np.zeros((1, 3, 2), np.float32)
    by_class[0, np.arange(3), CLASSES] = SCORES
    yield "a score a class", {"boxes": CORNERS[None], "scores": by_class}
    background = np.concatenate([1 - by_class.sum(axis=2, keepdims=True), by_class], axis=2)
    nothing = np.tile(np.float32([0, 0, 1, 1]), (1, 3, 1))
    many, least = np.concatenate([CORNERS[None], nothing, nothing], axis=1), np.array([[[0.999, 0.001, 0.0]]])
    softmax = np.concatenate([background, np.repeat(least, 6, axis=1)], axis=1).astype(np.float32)
    yield "a background first", {"boxes": many.astype(np.float32), "scores": softmax}
    yield "a background last", {"boxes": many.astype(np.float32), "scores": np.roll(softmax, -1, axis=2)}
    yield "a score a class of one image", {"boxes": CORNERS, "scores": np.pad(by_class[0], ((0, 0), (0, 1)))}
    yield "a score a class, first", {"boxes": CORNERS[None], "scores": by_class.transpose(0, 2, 1)}


@pytest.mark.parametrize(("form", "outputs"), list(forms()))
def test_boxes_are_read_from_every_form(form: str, outputs: dict[str, np.ndarray]) -> None:
    (boxes,) = read_boxes(outputs, 1)
    order = np.argsort(-SCORES)
    assert np.allclose(boxes.corners, CORNERS[order])
    assert np.allclose(boxes.scores, SCORES[order])
    assert boxes.classes.tolist() == CLASSES[order].tolist()


def test_outputs_without_boxes_are_refused_with_their_shapes() -> None:
    with pytest.raises(UsageError, match=r"logits \(2, 10\)"):
        read_boxes({"logits": np.zeros((2, 10), np.float32)}, 2)


SIZES = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7])


@given(st.data())
def test_whatever_shapes_outputs_have_there_are_boxes_with_a_score_each_or_a_reason(data: st.DataObject) -> None:
    """Suppression inside a model gives as many boxes as it finds, and quantised it may miscount them."""
    fill, n = np.random.default_rng(data.draw(st.integers(0, 99))), data.draw(st.integers(1, 3))
    outputs = {}
    for name in data.draw(
        st.sampled_from([("boxes", "scores"), ("boxes", "scores", "labels"), ("out",), ("a", "b", "num")])
    ):
        shape = data.draw(st.lists(SIZES, min_size=0, max_size=4).map(tuple))
        shape = data.draw(st.sampled_from([shape, (n, *shape), (n, *shape[:1], 4), (*shape[:1], 4)]))
        values = fill.uniform(-0.2, 1.2, shape).astype(data.draw(st.sampled_from(["f4", "f4", "i8"])))
        outputs[name] = np.where(fill.uniform(size=shape) < data.draw(st.sampled_from([0.0, 0.3])), np.nan, values)
    try:
        found = read_boxes(outputs, n)
    except UsageError:
        return
    assert len(found) == n
    for boxes in found:
        assert boxes.corners.shape == (len(boxes.scores), 4)
        assert boxes.classes.shape == boxes.scores.shape
        assert (np.diff(boxes.scores) <= 0).all()


def test_one_list_for_several_images_asks_for_one_at_a_time() -> None:
    with pytest.raises(NoRowsError, match="for 2 samples"):
        read_boxes({"boxes": CORNERS, "labels": CLASSES, "scores": SCORES}, 2)


def test_suppression_keeps_the_best_of_a_class_and_all_that_do_not_overlap() -> None:
    (boxes,) = read_boxes({"o": anchors(objectness=False).transpose(0, 2, 1)}, 1)
    assert len(boxes.scores) == 3
    assert boxes.scores.min() > detection.MIN_SCORE
