"""Rows that score classes, and their neighbors that do not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.observed import make_logits, recognize_one, softmax

RNG = np.random.default_rng(0)


def test_probabilities_their_logarithms_and_confident_logits_are_scores_of_classes() -> None:
    logits = make_logits(40, 10)
    for rows, word in ((softmax(logits), "sum to one"), (np.log(softmax(logits)), "logarithms"), (logits, "confident")):
        kind = recognize_one(rows)
        assert (kind.name, kind.gates) == ("class scores", ("confidence", "agreement"))
        assert word in kind.reason
        assert kind.guards == ("agreement",)
    assert recognize_one(logits[:, :, None, None]).squeezed


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_logits_of_any_number_of_classes_are(classes: int) -> None:
    assert recognize_one(make_logits(60, classes, scale=12.0)).name == "class scores"


def test_logits_of_low_confidence_are_not_and_the_other_reading_is_named() -> None:
    kind = recognize_one(0.1 * make_logits(40, 10))
    assert kind.name == "numbers"
    assert "--metric confidence" in str(kind.alternative)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_regressor_of_several_large_numbers_is_not_however_sure_its_softmax(size: int) -> None:
    """Angles, places: their softmax is one-hot, and the largest is another one in each sample."""
    assert recognize_one(30 * RNG.normal(size=(60, size))).name == "numbers"


def test_answers_that_never_differ_are_gated_by_their_divergence_too() -> None:
    rows = softmax(np.array([5.0, 0.0, 0.0]) + 0.1 * RNG.normal(size=(30, 3)))
    kind = recognize_one(rows, op="Softmax")
    assert kind.gates == ("confidence", "kl", "agreement")
    assert recognize_one(rows, op="Div").name != "class scores", "nothing but the sum speaks for classes"


def test_an_embedding_that_sums_to_one_by_chance_is_none() -> None:
    """Nonnegative rows that sum to one and point nowhere: comparing their largest entries would prove nothing."""
    rows = RNG.uniform(0.9, 1.1, size=(40, 64))
    kind = recognize_one((rows / rows.sum(axis=1, keepdims=True)).astype(np.float32), op="Div")
    assert kind.name != "class scores"
    signed = RNG.normal(size=(40, 64))
    signed += (1 - signed.sum(axis=1, keepdims=True)) / 64
    assert recognize_one(signed).name == "embeddings"


def test_what_logits_never_come_out_of_is_none() -> None:
    for op in ("LayerNormalization", "Relu", "Tanh"):
        assert recognize_one(make_logits(40, 10), op=op).name == "numbers"


def test_scores_of_one_class_are_none() -> None:
    assert recognize_one(RNG.normal(size=(40, 1))).name == "numbers"
