"""The metrics of one kind of output."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.validation.kind_accumulator import KindAccumulator, check_measurable
from onnxslim.validation.output_kinds.kind import OutputKind
from tests.support.observed import make_logits

LOGITS = make_logits(40, 10)
KIND = OutputKind(
    ("y",), "class scores", ("confidence", "top1"), "", beside=("agreement", "f1"), label_gates=("top1",), reads_labels=True
)


def test_each_metric_is_of_the_output_and_counts_by_its_leniency() -> None:
    mild = OutputKind(("y",), "numbers", ("variance",), "", leniency=4.0)
    found = []
    for kind in (mild, OutputKind(("y",), "numbers", ("variance",), "")):
        accumulator = KindAccumulator(kind, has_labels=False, has_original=True)
        accumulator.add({"y": 1.01 * LOGITS}, {"y": LOGITS}, None, 40)
        found += accumulator.compute()
    assert found[0].drop == found[1].drop
    assert found[0].scaled_drop == pytest.approx(found[1].scaled_drop / 4)
    assert found[0].output == "y"


def test_what_cannot_be_measured_is_left_out() -> None:
    labels = LOGITS.argmax(1)
    alone = KindAccumulator(KIND, has_labels=True, has_original=False)
    alone.add({"y": LOGITS}, None, labels, 40)
    assert [metric.name for metric in alone.compute()] == ["top1"]
    assert alone.gates == ["top1"]
    unlabelled = KindAccumulator(KIND, has_labels=False, has_original=True)
    assert unlabelled.gates == ["confidence"]


def test_labels_reach_only_what_they_decide() -> None:
    """Labels of classes are nothing that F1 of probabilities could read."""
    probabilities = 1 / (1 + np.exp(-LOGITS))
    both = KindAccumulator(KIND, has_labels=True, has_original=True)
    both.add({"y": probabilities}, {"y": probabilities}, LOGITS.argmax(1), 40)
    assert {metric.name: metric.result for metric in both.compute()}["f1"] == 1.0


def test_a_metric_without_its_measure_is_refused() -> None:
    with pytest.raises(UsageError, match="top1 needs labels"):
        check_measurable("top1", has_labels=False, has_original=True)
    with pytest.raises(UsageError, match="agreement needs a reference"):
        check_measurable("agreement", has_labels=True, has_original=False)
    check_measurable("f1", has_labels=True, has_original=False)


def test_a_mild_gate_counts_less_beside_one_that_counts_in_full() -> None:
    def measure(mild: tuple[str, ...]) -> dict[str, float | None]:
        kind = OutputKind(("y",), "numbers", ("variance", "deviation"), "", mild=mild)
        accumulator = KindAccumulator(kind, has_labels=False, has_original=True)
        accumulator.add({"y": 1.01 * LOGITS}, {"y": LOGITS}, None, 40)
        return {metric.name: metric.scaled_drop for metric in accumulator.compute()}

    full, mild = measure(()), measure(("deviation",))
    assert mild["variance"] == full["variance"]
    assert mild["deviation"] == pytest.approx(full["deviation"] / 4)


def test_tokens_agree_along_their_classes() -> None:
    scores = make_logits(60, 10).reshape(6, 10, 10)
    changed = scores.copy()
    changed[0, 3] = np.roll(changed[0, 3], 1)  # another answer at one of ten steps of one of six samples
    kind = OutputKind(("y",), "token scores", ("tokens", "kl"), "", beside=("agreement",), classes_last=True)
    accumulator = KindAccumulator(kind, has_labels=False, has_original=True)
    accumulator.add({"y": changed}, {"y": scores}, None, 6)
    (agreement,) = (metric for metric in accumulator.compute() if metric.name == "agreement")
    assert agreement.result == pytest.approx(1 - 1 / 60)
