"""What nothing more specific is said of."""

from __future__ import annotations

import numpy as np

from tests.support.observed import IMAGE, recognize_one

RNG = np.random.default_rng(0)


def test_everything_else_is_numbers_held_against_their_variance() -> None:
    for rows in (RNG.normal(size=40), RNG.normal(size=(40, 2, 3, 4, 5)), RNG.normal(size=(40, 0))):
        kind = recognize_one(rows)
        assert (kind.name, kind.gates) == ("numbers", ("variance", "deviation"))


def test_samples_of_other_lengths_are_numbers_too() -> None:
    rows = np.empty(6, object)
    rows[:] = [RNG.normal(size=n) for n in range(3, 9)]
    assert recognize_one(rows).name == "numbers"


def test_of_a_map_that_may_be_logits_of_a_mask_the_other_reading_is_said() -> None:
    maps = 3 * RNG.normal(size=(12, 1, 16, 16))
    kind = recognize_one(maps, inputs=IMAGE)
    assert kind.name == "numbers"
    assert "--metric iou" in str(kind.alternative)
    assert recognize_one(np.abs(maps), inputs=IMAGE).alternative is None  # nothing below 0: no logits
