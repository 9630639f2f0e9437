"""Which candidate is taken, by interleaved rounds and sizes."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.quantization.evaluation.placement_profiling import choose_candidate

ROUNDS = 30


def rounds(**milliseconds: float) -> dict[str, np.ndarray]:
    """Rounds that resemble one another: what disturbs one candidate disturbs all."""
    noise = 1 + 0.05 * np.random.default_rng(0).random(ROUNDS)
    return {name: time * noise for name, time in milliseconds.items()}


@pytest.mark.parametrize(
    ("times", "sizes", "taken"),
    [
        ({"float": 4.0, "few": 2.0, "all": 1.8}, (400, 200, 100), "all"),
        ({"float": 4.0, "few": 2.0, "all": 1.98}, (400, 103, 100), "few"),
        ({"float": 4.0, "few": 2.0, "all": 2.02}, (400, 200, 100), "all"),
        ({"float": 4.0, "few": 2.0, "all": 2.10}, (400, 200, 100), "few"),
        ({"float": 4.0, "few": 3.98, "all": 4.02}, (400, 200, 100), "float"),
        ({"float": 4.0, "few": 4.2, "all": 3.5}, (400, 200, 100), "all"),
    ],
    ids=["quicker", "a tie", "a tie, but smaller", "smaller, but slower", "float ties with int8", "one of two gains"],
)
def test_the_quickest_is_taken_and_of_those_alike_the_smaller(
    times: dict[str, float], sizes: tuple[int, ...], taken: str
) -> None:
    assert choose_candidate(rounds(**times), dict(zip(times, sizes, strict=True))) == taken


def test_a_lead_in_half_of_the_rounds_is_none() -> None:
    found = rounds(float=4.0, few=2.0, all=2.0)
    found["all"] = found["all"] * np.where(np.arange(ROUNDS) % 2, 0.8, 1.1)
    assert choose_candidate(found, {"float": 400, "few": 100, "all": 100}) == "few"
