"""What is still accepted, and the counts of a sweep."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import limits


def row(name: str = "a", tool: str = "onnxslim", speed: float = 1.0, size: float = 1.0, **more: Any) -> dict[str, Any]:
    """A row whose file was judged by one figure, the drop of top-1."""
    figures = {"top1_drop": more.pop("drop", 0.0)}
    seen = {"speed_ratio": speed, "size_ratio": size, "identical": False, "natural": figures}
    cost = {"wall_s": 50.0, "budget_s": 60.0, "peak_bytes": 3 << 28, "model_bytes": 10**6, "exit": 0}
    return {"name": name, "tool": tool, "kind": "classifier", "verified": seen, **cost, **more}


@given(st.sampled_from(sorted(limits.LIMITS)), st.floats(1e-6, 10))
def test_a_figure_is_accepted_up_to_its_limit_and_not_beyond(name: str, beyond: float) -> None:
    sign, limit = limits.LIMITS[name]
    worse = limit - beyond if sign == ">=" else limit + beyond
    assert limits.find_broken({name: limit}) == []
    assert limits.find_broken({name: 2 * limit - worse}) == []
    assert limits.find_broken({name: worse}) != []


def test_an_error_is_judged_by_the_spread_of_what_is_predicted_feature_by_feature() -> None:
    assert limits.find_broken({"mae": [0.04, 4.0], "spread": [1.0, 100.0]}) == []
    assert limits.find_broken({"mae": [0.04, 6.0], "spread": [1.0, 100.0]}) != []
    assert limits.find_broken({"mae_of_range": 0.3, "spread": 5.0}) != []
    assert limits.find_broken({"mae": [0.1], "spread": [0.0]}) != []


def test_answers_that_changed_count_where_no_labels_say_whether_they_were_right() -> None:
    assert limits.find_broken({"top1_same": 0.9}) != []
    assert limits.find_broken({"top1_same": 0.9, "top1_drop": 0.0}) == []


def test_a_figure_that_was_not_to_be_had_breaks_nothing() -> None:
    assert limits.find_broken({"spearman": [None], "within_50_cents": None}) == []
    assert limits.find_broken({"spearman": [None, 0.5]}) != []


def test_the_original_itself_is_kept_and_what_nobody_judged_is_unknown() -> None:
    assert limits.is_kept({"verified": {"identical": True}}) is True
    assert limits.is_kept({"verified": {"identical": False}}) is None
    assert limits.is_kept({"verified": {"identical": False, "natural": {"error": "no such output"}}}) is None
    assert limits.is_kept({}) is None
    assert limits.is_kept(row(drop=0.02)) is False


def test_two_that_were_timed_in_turn_are_compared_by_that() -> None:
    hand = row(tool="static", speed=1.6, size=2.0)
    ours = row(speed=1.4, size=2.0)
    assert limits.is_worse(ours, hand)
    ours["beside_hand"] = {"tool": "static", "speed_ratio": 1.1}
    assert not limits.is_worse(ours, hand)
    assert limits.get_gain(limits.time_beside(ours, hand) or {})[0] == pytest.approx(1.4 / 1.1)
    ours["beside_hand"] = {"tool": "static", "speed_ratio": 0.9}
    assert limits.is_worse(ours, hand)
    ours["beside_hand"] = {"tool": "dynamic", "speed_ratio": 9.0}
    assert limits.time_beside(ours, hand) is hand, "that was another recipe"


def test_a_recipe_by_hand_is_beside_ours_only_if_it_keeps_the_limit() -> None:
    rows = [
        row(),
        row(tool="dynamic", speed=2.0, size=4.0, drop=0.1),
        row(tool="static", speed=1.5, size=2.0),
        row(tool="static", name="b", speed=9.0),
    ]
    assert limits.find_best_by_hand(rows, "a", "onnxslim") is rows[2]
    assert limits.find_best_by_hand(rows, "c", "onnxslim") is None
    assert limits.is_worse(rows[0], rows[2])
    assert not limits.is_worse(row(speed=1.6, size=2.0), rows[2])
    assert not limits.is_worse(rows[0], row(tool="dynamic", speed=0.2, size=4.0))


@pytest.mark.parametrize(
    ("spoiled", "counted"),
    [
        ({"speed": 0.9}, "slower than 0.98 × or larger"),
        ({"size": 0.99}, "slower than 0.98 × or larger"),
        ({"drop": 0.02}, "natural limit broken"),
        ({"verified": {"identical": False, "speed_ratio": 1.0, "size_ratio": 1.0}}, "written, and not judged"),
        ({"exit": 3, "runs": True, "verified": None}, "refused though onnxruntime runs it"),
        ({"wall_s": 80.0}, "over 1.15 × budget + 10 s"),
        ({"peak_bytes": 1_300_000_000}, "over 1.2 GB for 20 MB or less"),
    ],
)
def test_each_fault_is_counted_once_and_named(spoiled: dict[str, Any], counted: str) -> None:
    found = dict(limits.summarize([row("good", speed=2.0), row("bad", **spoiled)], "onnxslim"))
    assert found.pop(counted) == "1: bad"
    assert {what for what, reached in found.items() if reached == "0"} == set(found) - set(list(found)[:2])


def test_shares_are_of_all_models_and_only_of_what_keeps_its_limit() -> None:
    rows = [row("fast", speed=1.3), row("small", size=3.0), row("wrong", speed=5.0, size=5.0, drop=0.5), row("same")]
    found = dict(limits.summarize([*rows, row("fast", tool="static", speed=9.0)], "onnxslim"))
    assert found["≥ 1.3 × faster or ≥ 3 × smaller, limit kept"] == "50% (2 of 4)"
    assert found["≥ 1.3 × faster, limit kept"] == "25% (1 of 4)"
