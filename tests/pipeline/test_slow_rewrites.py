"""Which rewrites are blamed for a model that simplifying made slower."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.pipeline import slow_rewrites
from onnxslim.pipeline.slow_rewrites import find_slow_rewrites, narrow_down
from onnxslim.pipeline.task import prepare_task
from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.onnx_text import build, floats

#: Two chains that become one node each.
CHAINS = """(float[N,4] x) => (float[N,4] y) {
    a = Mul (x, c) b = Mul (a, d) r = Relu (b) s = Relu (r) e = Add (s, c) f = Add (e, d) y = Tanh (f)
}"""


@given(st.integers(1, 40), st.data())
def test_what_is_left_suffices_and_none_of_it_can_go(count: int, data: st.DataObject) -> None:
    guilty = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=4))

    def suffices(items: list[int]) -> bool:
        return guilty <= set(items)

    assert narrow_down(list(range(count)), suffices, lambda: True) == sorted(guilty)


def test_without_time_what_is_known_to_suffice_is_returned() -> None:
    assert narrow_down([1, 2, 3], lambda items: True, lambda: False) == [1, 2, 3]


def test_few_questions_find_one_of_many() -> None:
    asked: list[list[int]] = []

    def suffices(items: list[int]) -> bool:
        asked.append(items)
        return 613 in items

    assert narrow_down(list(range(1000)), suffices, lambda: True) == [613]
    assert len(asked) <= 20


def model():
    return build(CHAINS, c=floats(4), d=floats(4, seed=1))


def test_the_rewrite_that_costs_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is a made-up one: whoever rounds the chain of Adds is slow."""
    rewrites = simplify(model())[1].decision.rewrites
    joined = [rewrite for rewrite in rewrites if rewrite.startswith("constants joined")]
    assert len(joined) == 2
    guilty = joined[-1]

    def time_without(task: object, left_out: Sequence[str], seconds: float) -> float:
        return 1.0 if guilty in left_out else 0.5

    monkeypatch.setattr(slow_rewrites, "_time_without", time_without)
    task = prepare_task(model(), "optimize", data={"x": floats(8, 4)})
    assert find_slow_rewrites(task, 0.5, 5.0) == (guilty,)
    result, report = simplify(model(), SimplifyOptions(leave_out=(guilty,)))
    assert guilty not in report.decision.rewrites
    assert any("left out" in skipped.reason for skipped in report.skipped)
    assert any(guilty in warning for warning in report.warnings)
    assert len(list(result.graph)) == len(list(simplify(model())[0].graph)) + 1


def test_nothing_is_blamed_where_nothing_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_rewrites, "_time_without", lambda *_: 0.5)
    task = prepare_task(model(), "optimize", data={"x": floats(8, 4)})
    assert find_slow_rewrites(task, 0.5, 5.0) == ()


def test_the_speed_is_that_of_what_is_left() -> None:
    task = prepare_task(model(), "optimize", data={"x": floats(8, 4)})
    rewrites = simplify(model())[1].decision.rewrites
    assert slow_rewrites._time_without(task, rewrites, 0.05) > 0.2
    assert not task.step_cache
