"""What is said of a trial: a line, in words for people."""

from __future__ import annotations

from typing import Any, cast

import pytest

from onnxslim.core.errors import InvalidDataError, TimeLimitError, UnsupportedError
from onnxslim.search.candidate import Candidate
from onnxslim.search.trial import LARGER, SLOWER, Trial
from onnxslim.search.verdict import (
    MAX_LINE_LENGTH,
    describe_search,
    describe_verdict,
    suggest_max_drop,
)
from tests.search.test_confirmation import make_metric, make_trial


def trial(**fields: Any) -> Trial:
    made = make_trial(Candidate(), 0.0)
    for name, value in fields.items():
        setattr(made, name, value)
    made.describe_loss(make_metric(made.seen_drop))
    return made


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "passed on tune; not shown the confirm data"),
        ({"missed_gates": (SLOWER,)}, "slower here: 2.00 times the original's speed"),
        ({"missed_gates": (LARGER,), "shrinkage": 0.9}, "larger than the original"),
        ({"speedup": 1.0}, "int8 gains no time here"),
        ({"speedup": 1.0, "shrinkage": 1.0}, "neither faster nor smaller than the original"),
        ({"drop": 0.03, "seen_drop": 0.021}, "loses 2.1 points of Top-1; at most 1.0 point allowed"),
        (
            {"drop": 0.012, "seen_drop": 0.008},
            "loses 0.80 points of Top-1; too near the 1.0 point allowed for so few samples",
        ),
        ({"refusal": "on the confirm data it is worse"}, "on the confirm data it is worse"),
        ({"cause": UnsupportedError("no layer is int8")}, "no layer is int8"),
        ({"cause": InvalidDataError("NaN in x")}, "failed: NaN in x"),
        ({"cause": TimeLimitError("statistics: no time left")}, "statistics: no time left"),
    ],
)
def test_a_trial_is_told_in_a_line(fields: dict[str, Any], said: str) -> None:
    assert describe_verdict(trial(**fields), None) == said


def test_what_passed_on_tune_alone_is_not_told_as_passed() -> None:
    chosen = trial(score=5.0)
    assert describe_verdict(trial(score=4.0), chosen) == "passed on tune; int8 gains more"
    assert describe_verdict(trial(score=6.0), chosen) == "passed on tune; not shown the confirm data"


def test_a_line_is_short_however_much_a_step_had_to_say() -> None:
    told = describe_verdict(trial(cause=UnsupportedError("layer\x1b " * 300)), None)
    assert len(told) <= MAX_LINE_LENGTH
    assert told.isprintable()


@pytest.mark.parametrize(
    ("seen", "counted", "accepted"),
    [(0.02, 0.02, "2.2%"), (0.02, 0.03, "3%"), (0.0, 0.0, None), (0.5, 0.6, None)],
)
def test_what_would_accept_a_drop_allows_for_other_samples(seen: float, counted: float, accepted: str | None) -> None:
    assert suggest_max_drop(trial(seen_drop=seen, drop=counted)) == accepted


def test_the_nearest_is_told_where_nothing_was_gained() -> None:
    slow = trial(missed_gates=(SLOWER,))
    assert describe_search([slow]) == (
        "nearest: int8, 2.0 times faster, 4.0 times smaller: slower here: 2.00 times the original's speed"
    )
    assert describe_search([trial(speedup=1.0, shrinkage=0.9, missed_gates=(LARGER,))]) == (
        "nothing that was tried is faster or smaller"
    )
    near = trial(seen_drop=0.02, drop=0.02)
    far = trial(seen_drop=0.2, drop=0.2)
    assert "--max-drop 2.2% accepts that" in describe_search([slow, far, near])
    failed = trial(cause=UnsupportedError("no op of it is known"))
    assert describe_search([failed]) == "nothing that was tried is faster or smaller"
    assert cast(Any, near).candidate.name in describe_search([failed, near])
