"""The near-chance check, on counts."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.sanity_checks import OutputVariation, check_above_chance, describe_resolution

BALANCED = np.arange(500) % 10
SKEWED = np.repeat([0, 1], [450, 50])


@pytest.mark.parametrize(
    ("labels", "hits"),
    [
        (BALANCED, 50),  # one in ten, as guessing has it
        (BALANCED, 0),  # worse than guessing: the classes are in another order
        (SKEWED, 450),  # always the frequent class
        (SKEWED, 440),
        (np.zeros(30, int), 30),  # right, but there was only one answer to give
    ],
)
def test_a_model_that_guesses_cannot_be_judged(labels: np.ndarray, hits: int) -> None:
    with pytest.raises(InvalidDataError, match="no better than guessing") as caught:
        check_above_chance("the original", hits, labels)
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_few_sequences_hold_many_answers_and_few_samples_few() -> None:
    agreement = MetricResult("agreement", 1.0, 1.0, 0.0, (0.0, 0.0), 20, share=True, point=0.02, output="y", guards=True)
    tokens, confidence = (
        MetricResult(name, 0.9, 0.9, 0.0, (0.0, 0.0), 20, share=True, output="y") for name in ("tokens", "confidence")
    )
    assert describe_resolution([tokens, agreement], 20, 0.01) is None
    assert "one answer of 20 is 5 %; 50 samples could" in str(describe_resolution([confidence, agreement], 20, 0.01))


@pytest.mark.parametrize(
    ("labels", "hits"),
    [
        (BALANCED, 400),
        (BALANCED, 90),  # poor, but more than guessing
        (SKEWED, 490),
        (SKEWED, 380),  # below always saying "0": it finds the rare class at a price, which is no guessing
        (np.arange(600) % 400, 30),  # few samples of many classes
    ],
)
def test_a_model_that_knows_something_can(labels: np.ndarray, hits: int) -> None:
    check_above_chance("the original", hits, labels)


def spread(outputs: np.ndarray, size: int = 7) -> str | None:
    found = OutputVariation()
    for i in range(0, len(outputs), size):
        found.add(outputs[i : i + size])
    return found.warning("y")


def test_outputs_below_minus_40_db_are_still_and_above_are_not() -> None:
    constant, noise = np.ones((200, 8)), np.random.default_rng(0).normal(size=(200, 8))
    assert spread(constant + 0.009 * noise) is not None
    assert "-41 dB" in spread(constant + 0.009 * noise)
    assert spread(constant + 0.012 * noise) is None
    assert spread(constant) is not None


def test_nothing_is_said_of_one_sample_or_of_outputs_of_varying_length() -> None:
    assert spread(np.ones((1, 8))) is None
    found = OutputVariation()
    found.add(np.ones((2, 8)))
    found.add(np.ones((2, 9)))
    assert found.warning("y") is None
