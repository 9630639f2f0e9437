"""Embeddings and independent probabilities, and what is neither."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.validation.output_kinds.recognition import recognize
from tests.support.observed import IMAGE, name_kinds, observe_outputs, recognize_one

RNG = np.random.default_rng(0)
EMBEDDINGS = RNG.normal(size=(40, 64))


def test_rows_of_unit_length_are_embeddings_and_so_are_many_numbers_that_differ() -> None:
    unit = EMBEDDINGS / np.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
    kind = recognize_one(unit, "sentence_embedding")
    assert (kind.name, kind.gates) == ("embeddings", ("similarity", "neighbors"))
    assert kind.reason == "rows of sentence_embedding have unit length"
    for rows in (EMBEDDINGS, 3 * EMBEDDINGS, np.maximum(EMBEDDINGS, 0)):
        kind = recognize_one(rows)
        assert kind.name == "embeddings"
        assert "--metric variance" in str(kind.alternative)


def test_a_name_makes_short_vectors_embeddings_and_landmarks_none() -> None:
    assert recognize_one(EMBEDDINGS[:, :16], "features").name == "embeddings"
    assert recognize_one(EMBEDDINGS[:, :16], "y").name == "numbers"
    assert recognize_one(EMBEDDINGS, "landmarks").name == "numbers"


def test_series_what_goes_in_and_what_hardly_differs_are_no_embeddings() -> None:
    wave = np.cumsum(EMBEDDINGS, axis=1)
    assert "series" in recognize_one(wave).reason
    same_shape = recognize_one(EMBEDDINGS, inputs=np.zeros((1, 64), np.float32))
    assert (same_shape.name, same_shape.reason) == ("numbers", "y has the shape of what goes in")
    assert recognize_one(100 + EMBEDDINGS).name == "numbers"


@pytest.mark.parametrize("shape", [(1,), (8,), (30, 8)])
def test_values_near_zero_and_one_are_independent_probabilities(shape: tuple[int, ...]) -> None:
    rows = np.where(RNG.uniform(size=(60, *shape)) < 0.2, 0.97, 0.02)
    kind = recognize_one(rows, op="Sigmoid")
    assert (kind.name, kind.gates) == ("independent probabilities", ("f1",))
    assert "Sigmoid" in kind.reason


@pytest.mark.parametrize("rows", [np.zeros((40, 8)), np.full((40, 8), 0.99), RNG.uniform(size=(40, 8))])
def test_where_nothing_or_everything_is_found_and_between_zero_and_one_they_are_numbers(rows: np.ndarray) -> None:
    """F1 of nothing found is perfect, whatever the result is."""
    assert recognize_one(rows, op="Sigmoid").name == "numbers"


def test_hidden_states_beside_a_pooled_embedding_are_judged_mildly() -> None:
    hidden = RNG.normal(size=(20, 12, 64))
    pooled = hidden.mean(axis=1) / np.linalg.norm(hidden.mean(axis=1), axis=1, keepdims=True)
    outputs = {"last_hidden_state": hidden, "sentence_embedding": pooled}
    assert name_kinds(outputs, inputs=np.zeros((1, 12), np.int64)) == ["hidden states", "embeddings"]
    first, second = recognize(observe_outputs(outputs, np.zeros((1, 12), np.int64)))
    assert first.leniency > second.leniency == 1


def test_numbers_of_images_that_go_in_are_still_numbers() -> None:
    assert recognize_one(RNG.normal(size=(30, 3)), inputs=IMAGE).name == "numbers"


UNDECIDED = RNG.uniform(0.2, 0.8, size=(60, 1))


@pytest.mark.parametrize("shape", [(60,), (60, 1), (4, 15, 1)])
def test_one_value_that_the_graph_makes_a_probability_is_one_whatever_the_data_show(shape: tuple[int, ...]) -> None:
    kind = recognize_one(UNDECIDED.reshape(shape), op="Sigmoid")
    assert (kind.name, kind.gates, kind.mild) == ("independent probabilities", ("f1", "deviation"), ("deviation",))
    assert "Sigmoid" in kind.reason
    assert "--metric variance" in str(kind.alternative)
    assert recognize_one(UNDECIDED.reshape(shape)).name == "numbers"


@pytest.mark.parametrize("rows", [0.4 * UNDECIDED, 1 - 0.4 * UNDECIDED])
def test_where_nothing_can_be_missed_the_deviation_gates_in_full(rows: np.ndarray) -> None:
    """F1 of what is nowhere, or everywhere, is perfect whatever the result is."""
    kind = recognize_one(rows, op="Sigmoid")
    assert (kind.name, kind.gates, kind.mild) == ("independent probabilities", ("f1", "deviation"), ())
