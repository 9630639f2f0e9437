"""Facts of outputs."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.validation.output_kinds.observation import OutputObservation, describe_scores


def test_the_margin_is_what_the_same_answers_for_everything_would_lose() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(5, 0.2), size=300)
    facts, answers = describe_scores(probabilities), probabilities.argmax(axis=1)
    shuffled = np.mean([probabilities[np.arange(300), np.roll(answers, shift)].mean() for shift in range(300)])
    assert facts.confidence == pytest.approx(probabilities.max(axis=1).mean())
    assert facts.margin == pytest.approx(facts.confidence - shuffled)
    assert describe_scores(np.tile([0.9, 0.1], (9, 1))).margin == pytest.approx(0)


def test_what_is_not_finite_is_left_out() -> None:
    output = OutputObservation("y", (np.array([1.0, np.nan]), np.array([np.inf, -2.0])))
    assert (output.low, output.high) == (-2.0, 1.0)
    assert len(output.scores(0)) == 0


def test_nothing_found_in_any_sample_has_no_scores() -> None:
    output = OutputObservation("y", (np.zeros((0, 4), np.float32),) * 3)
    assert output.scores(-1).shape == (0, 4)
    assert output.probabilities(-1) is None


def test_samples_of_other_shapes_are_no_vectors() -> None:
    assert OutputObservation("y", (np.zeros(3), np.zeros(4))).vectors is None
