"""What a kind says and how it weighs labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxslim.validation.output_kinds.kind import GUARD_LENIENCY, LabelWeight, OutputKind

KIND = OutputKind(("y",), "class scores", ("confidence",), "why", ("agreement",), ("top1",))


@pytest.mark.parametrize(
    ("weight", "gates"), [("alone", {"top1"}), ("joined", {"top1", "confidence"}), ("told", {"confidence"})]
)
def test_labels_gate_alone_or_with_the_rest_or_are_told(weight: LabelWeight, gates: set[str]) -> None:
    weighed = KIND.weigh_labels(weight)
    assert set(weighed.gates) == gates
    assert set(weighed.metrics) == {"top1", "confidence", "agreement"}
    bare = OutputKind(("y",), "numbers", ("variance",), "why")
    assert bare.weigh_labels(weight) is bare


@pytest.mark.parametrize(
    ("weight", "gates"),
    [("alone", {"top1"}), ("joined", {"top1", "confidence"}), ("told", {"confidence", "agreement"})],
)
def test_labels_that_judge_take_the_place_of_a_guard(weight: LabelWeight, gates: set[str]) -> None:
    guarded = replace(KIND, gates=("confidence", "agreement"), beside=(), guards=("agreement",))
    weighed = guarded.weigh_labels(weight)
    assert set(weighed.gates) == gates
    assert set(weighed.metrics) == {"top1", "confidence", "agreement"}
    assert replace(guarded, label_gates=()).drop_guards().gates == ("confidence", "agreement"), "no labels that fit"


def test_a_guard_may_lose_twice_as_much() -> None:
    guarded = replace(KIND, gates=("confidence", "agreement"), guards=("agreement",))
    assert [guarded.get_leniency(name) for name in guarded.gates] == [1.0, GUARD_LENIENCY]
    assert GUARD_LENIENCY == 1.5


def test_a_guard_of_labels_that_decide_alone_gates_by_what_was_seen_at_its_own_limit() -> None:
    kind = OutputKind(("y",), "score maps", ("iou",), "why", ("agreement",), label_gates=("miou",), label_guards=("iou",))
    alone, told = kind.weigh_labels("alone"), kind.weigh_labels("told")
    assert (alone.gates, alone.guards, alone.beside) == (("miou", "iou"), ("iou",), ("agreement",))
    assert [alone.get_leniency(name) for name in alone.gates] == [1.0, 1.0], "it is twice as lenient as a drop by itself"
    assert (told.gates, told.guards) == (("iou",), ())
    assert set(kind.weigh_labels("joined").gates) == {"iou", "miou"}


def test_rows_are_arranged_as_metrics_read_them() -> None:
    rows = np.zeros((2, 5, 1, 1))
    assert OutputKind(("y",), "k", (), "", squeezed=True).arrange(rows).shape == (2, 5)
    assert OutputKind(("y",), "k", (), "", channels_last=True).arrange(np.zeros((2, 4, 5, 3))).shape == (2, 3, 4, 5)


def test_many_outputs_make_a_short_title() -> None:
    assert KIND.title == "y"
    assert OutputKind(("a", "b"), "k", (), "").title == "a and b"
    assert OutputKind(tuple("abcde"), "k", (), "").title == "a and 4 others"
    assert KIND.as_json()["reason"] == "why"
