"""Answers that are classes already."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.output_kinds.recognition import recognize
from tests.support.observed import IMAGE, make_logits, name_kinds, observe_outputs, recognize_one, softmax


def test_integers_and_texts_are_equal_or_not() -> None:
    for rows in (np.arange(20) % 3, np.array(["a", "b"] * 10), np.arange(20) % 2 == 0):
        kind = recognize_one(rows)
        assert (kind.name, kind.gates) == ("answers", ("agreement",))


def test_a_label_beside_its_probabilities_is_one_reading() -> None:
    scores = softmax(make_logits(30, 4))
    for names in (np.array([7, 1, 5, 3]), np.array(["d", "a", "c", "b"])):
        label, probabilities = recognize(observe_outputs({"label": names[scores.argmax(1)], "probabilities": scores}))
        assert label.gates == ()
        assert "probabilities" in label.reason
        assert probabilities.gates == ("confidence", "agreement")
    other = np.random.default_rng(0).integers(0, 4, 30)
    assert [kind.gates for kind in recognize(observe_outputs({"label": other, "p": scores}))] == [
        ("agreement",),
        ("confidence", "agreement"),
    ]


def test_maps_of_classes_are_judged_by_their_overlap() -> None:
    regions = np.add.outer(np.arange(32), np.arange(32))[None] // 20 + np.zeros((5, 1, 1), int)
    assert recognize_one(regions, inputs=IMAGE).gates == ("iou",)
    assert name_kinds({"y": np.zeros((5, 32, 32), int)}, inputs=IMAGE) == ["answers"]
