"""Scores along a sequence."""

from __future__ import annotations

import numpy as np

from tests.support.observed import make_logits, recognize_one, softmax

RNG = np.random.default_rng(0)


def test_scores_of_tokens_are_told_from_hidden_states() -> None:
    logits = make_logits(200, 12).reshape(10, 20, 12)
    for rows in (logits, softmax(logits)):
        kind = recognize_one(rows)
        assert (kind.name, kind.gates, kind.guards) == ("token scores", ("tokens", "kl", "agreement"), ("agreement",))
    assert recognize_one(logits[:, :1]).name == "token scores"
    hidden = RNG.normal(size=(10, 20, 64))
    assert recognize_one(hidden, inputs=np.zeros((1, 20), np.int64)).name == "hidden states"
    assert recognize_one(hidden, inputs=np.zeros((1, 20, 5), np.float32)).name == "numbers"


def test_quantiles_that_are_in_order_are_numbers() -> None:
    rows = np.sort(RNG.normal(size=(20, 30, 9)), axis=2)
    assert recognize_one(rows).name == "numbers"


def make_readings(blank: int) -> np.ndarray:
    """Frames of 40 symbols: every third says one, the others ``blank``."""
    symbols = RNG.integers(1, 40, size=(12, 30))
    answers = np.where(np.arange(30) % 3 == 0, symbols, blank)
    return softmax(8.0 * np.eye(40)[answers])


def test_frames_that_mostly_say_nothing_are_ctc() -> None:
    kind = recognize_one(make_readings(0))
    assert (kind.name, kind.gates) == ("CTC scores", ("ctc",))
    assert "--metric tokens" in str(kind.alternative)
    rows = make_readings(39)
    kind = recognize_one(rows)
    assert (kind.name, kind.blank_last) == ("CTC scores", True)
    assert (kind.arrange(rows)[..., 0] == rows[..., 39]).all(), "the metric takes class 0 for the blank"


def test_time_before_the_batch_is_ctc_too() -> None:
    rows = make_readings(0)
    kind = recognize_one(rows[:, :, None])
    assert (kind.name, kind.gates, kind.squeezed) == ("CTC scores", ("ctc",), True)
    assert (kind.arrange(rows[:, :, None]) == rows).all()
    series = RNG.normal(size=(12, 30, 1, 40)).cumsum(axis=1)
    assert recognize_one(series).name != "CTC scores", "lines of numbers score nothing"


def test_tags_that_are_nearly_all_alike_are_scores_where_the_name_says_so() -> None:
    answers = np.where(RNG.uniform(size=(10, 30)) < 0.97, 0, 5)
    logits = 8.0 * np.eye(9)[answers] + RNG.normal(size=(10, 30, 9))
    assert recognize_one(logits, "logits").gates == ("tokens", "kl", "agreement")


def test_tags_that_last_are_no_ctc() -> None:
    answers = np.where(RNG.uniform(size=(12, 5)) < 0.6, 0, RNG.integers(1, 40, size=(12, 5))).repeat(6, axis=1)
    assert recognize_one(softmax(8.0 * np.eye(40)[answers])).name == "token scores"
