"""Which output the labels are about."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation
from onnxslim.validation.output_kinds.recognition import recognize
from tests.support.observed import IMAGE, make_logits, observe_outputs, softmax

RNG = np.random.default_rng(0)
CLASSES = np.arange(40) % 10
LOGITS = make_logits(40, 10)


def find(outputs: dict[str, np.ndarray], labels: np.ndarray, inputs: np.ndarray | None = None) -> list[OutputKind]:
    """The kinds that labels decide."""
    model = observe_outputs(outputs, labels=labels) if inputs is None else observe_outputs(outputs, inputs, labels)
    return [kind for kind in recognize(model) if kind.label_gates]


def test_classes_decide_the_scores_by_top1() -> None:
    (kind,) = find({"z": RNG.normal(size=(40, 64)), "logits": LOGITS}, CLASSES)
    assert (kind.outputs, kind.label_gates, kind.gates) == (("logits",), ("top1",), ("confidence", "agreement"))
    assert "top5" in kind.beside


def test_classes_make_scores_of_what_would_be_numbers_and_of_nothing_else() -> None:
    (kind,) = find({"y": 0.1 * LOGITS}, CLASSES)
    assert kind.name == "class scores"
    assert find({"y": 0.1 * LOGITS}, CLASSES + 30) == []
    assert find({"y": LOGITS[:, :1]}, CLASSES) == []


def test_classes_are_about_no_output_whose_size_differs_by_sample() -> None:
    """What was found in a picture may be one thing in the first, and nothing in another."""
    for dtype, sizes in (("f4", [4, 5, 4]), ("i8", [1, 0, 2])):
        rows = tuple(RNG.normal(size=size).astype(dtype) for size in sizes)
        kinds = recognize(ModelObservation({"y": OutputObservation("y", rows)}, labels=np.array([0, 1, 0])))
        assert not any(kind.label_gates for kind in kinds)


def test_texts_decide_the_answers_that_are_texts() -> None:
    names = np.array(list("abcdefghij"))
    (kind,) = find({"label": names[LOGITS.argmax(1)], "p": softmax(LOGITS)}, names[CLASSES])
    assert (kind.outputs, kind.label_gates) == (("label",), ("top1",))


def test_numbers_maps_and_boxes_decide_what_has_their_shape() -> None:
    (kind,) = find({"y": RNG.normal(size=(40, 1))}, RNG.normal(size=40))
    assert kind.label_gates == ("rmse", "deviation")
    regions = np.add.outer(np.arange(32), np.arange(32))[None] // 20 + np.zeros((6, 1, 1), int)
    maps = softmax(9.0 * np.eye(4)[regions]).transpose(0, 3, 1, 2)
    (kind,) = find({"y": maps}, regions, IMAGE)
    assert (kind.label_gates, kind.label_guards) == (("miou",), ("iou",))
    probabilities = np.where(RNG.uniform(size=(40, 3)) < 0.3, 0.98, 0.01)
    (kind,) = find({"p": probabilities}, (probabilities > 0.5).astype(int))
    assert (kind.label_gates, kind.label_guards) == (("f1",), ()), "a yes or no that changed is right or wrong"
    drawn = (regions[:, None] == 1).astype(int)
    masks = observe_outputs({"mask": np.where(drawn, 0.98, 0.01)}, IMAGE, drawn, ops={"mask": "Sigmoid"})
    (kind,) = recognize(masks)
    assert (kind.name, kind.label_gates, kind.label_guards) == ("masks", ("f1",), ("iou",))
    corners = np.sort(RNG.uniform(0, 60, (6, 7, 2, 2)), axis=2).reshape(6, 7, 4)
    boxes = {"boxes": corners, "scores": RNG.uniform(0.5, 1, (6, 7))}
    (kind,) = find(boxes, np.zeros((6, 3, 5)), IMAGE)
    assert kind.label_gates == ("ap",)


def test_labels_that_are_numbers_make_numbers_of_one_undecided_probability() -> None:
    scores = RNG.uniform(0.2, 0.8, size=(40, 1))

    def judge(labels: np.ndarray) -> OutputKind:
        (kind,) = recognize(observe_outputs({"y": scores}, labels=labels, ops={"y": "Sigmoid"}))
        return kind

    assert (judge(scores[:, 0]).name, judge(scores[:, 0]).label_gates) == ("numbers", ("rmse", "deviation"))
    for truth in (scores[:, 0] > 0.5).astype(int), (scores[:, 0] > 0.5).astype(float):
        assert (judge(truth).name, judge(truth).label_gates) == ("independent probabilities", ("f1",))
