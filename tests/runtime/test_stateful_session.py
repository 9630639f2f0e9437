"""What judges sees tensors: members of sequences by name, maps and absent optionals not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.runtime.stateful_session import StatefulSession, flatten_tensors

A, B = np.zeros((2, 3)), np.ones(4)


class Scripted:
    """A session that gives what it is told to."""

    def __init__(self, *runs: dict[str, Any]) -> None:
        self.runs, self.inputs, self.outputs = iter(runs), ["x"], list(runs[0])

    def run(self, feeds: object, outputs: object = None) -> dict[str, Any]:
        return next(self.runs)


def test_members_of_a_sequence_have_names_and_what_is_no_tensor_is_left_out() -> None:
    outputs = {"y": A, "all": [A, B], "map": [{1: 0.5}], "absent": None}
    session = StatefulSession(Scripted(outputs, outputs), {})  # type: ignore[arg-type]
    for _ in range(2):
        found = session.run({})
        assert list(found) == ["y", "all[0]", "all[1]"]
        assert found["all[1]"] is B
    assert session.members == {"y": [("y",)], "all": [("all[0]", "all[1]")], "map": [()], "absent": [()]}


def test_where_there_are_no_tensors_the_outputs_come_as_they_are() -> None:
    outputs = {"map": [{1: 0.5}]}
    assert StatefulSession(Scripted(outputs), {}).run({}) == outputs  # type: ignore[arg-type]


def test_a_sequence_that_changes_its_length_and_an_optional_that_comes_and_goes_are_told() -> None:
    session = StatefulSession(Scripted({"all": [A], "may": A}, {"all": [A, B], "may": None}), {})  # type: ignore[arg-type]
    assert [list(session.run({})) for _ in range(2)] == [["all[0]", "may"], ["all[0]", "all[1]"]]
    assert session.members == {"all": [("all[0]",), ("all[0]", "all[1]")], "may": [("may",), ()]}


def test_the_state_that_a_step_gave_is_fed_to_the_next() -> None:
    fed = []

    class Counting(Scripted):
        def run(self, feeds: Any, outputs: object = None) -> dict[str, Any]:
            fed.append(float(feeds["x"]))
            return {"y": np.asarray(feeds["x"]) + 1}

    session = StatefulSession(Counting({"y": A}), {"y": "x"})  # type: ignore[arg-type]
    for continues in (False, True, True, False):
        session.run({"x": np.float32(0)}, continues=continues)
    assert fed == [0, 1, 2, 0]
    with pytest.raises(InvalidModelError, match="no such output and input"):
        StatefulSession(Counting({"y": A}), {"z": "x"})  # type: ignore[arg-type]


def test_maps_and_sequences_in_sequences_are_tensors_by_key_and_index() -> None:
    flat = dict(flatten_tensors("o", [{"a": 1.0}, [A, None]]))
    assert list(flat) == ["o[0][a]", "o[1][0]"]
