"""Sequences start from zeros of the size that the model runs with, however little of it is declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.data.model_inputs import Dim, build_inputs
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.initial_state import InitialState, bind_symbols, find_initial_state
from onnxslim.data.states.pairs import ModelOutput

X = np.ones((1, 3), np.float32)


def start(
    dims: tuple[Dim, ...] | None,
    step: Any,
    *,
    declared: tuple[Dim, ...] | None = None,
    sizes: Mapping[str, int] | None = None,
    x_dims: tuple[Dim, ...] = ("batch", 3),
) -> InitialState:
    """The start of the state ``s``, whose next value is ``step(s, x)``."""
    inputs = build_inputs({"x": (ir.DataType.FLOAT, x_dims), "s": (ir.DataType.FLOAT, dims)})
    outputs = [ModelOutput("t", ir.DataType.FLOAT, declared)]
    feedback = StateFeedback({"t": "s"}, ["t"], lambda feeds: {"t": step(feeds["s"], feeds["x"])}, outputs)
    return find_initial_state(feedback, inputs[1:], {"x": X}, sizes or {})


def keep(state: np.ndarray, x: np.ndarray) -> np.ndarray:
    return state


def append(state: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A cache: what is new is put behind the rest along axis 2."""
    return np.concatenate([state, np.ones((*state.shape[:2], 1, 4), np.float32)], axis=2)


def strict(*shape: int) -> Any:
    def step(state: np.ndarray, x: np.ndarray) -> np.ndarray:
        if state.shape != shape:
            raise InvalidModelError(f"no state of {state.shape}")
        return state

    return step


def test_fixed_sizes_and_the_batch_need_no_word() -> None:
    found = start((2, "batch", 8), strict(2, 1, 8))
    assert found.tensors["s"].shape == (2, 1, 8)
    assert (found.growing, found.notes) == ({}, [])


def test_an_unnamed_dimension_is_one_and_said_with_how_to_change_it() -> None:
    found = start((2, None, 8), keep, x_dims=(None, None))
    assert found.tensors["s"].shape == (2, 1, 8)
    assert "zeros of 2x1x8; --dim s.1=N" in found.notes[0]
    assert start((2, None, 8), strict(2, 5, 8), sizes={"s.1": 5}, x_dims=(None, None)).notes == []


def test_sizes_come_from_options_from_data_and_from_what_comes_back() -> None:
    assert start((2, "batch", "hidden"), strict(2, 1, 8), sizes={"hidden": 8}).tensors["s"].shape == (2, 1, 8)
    assert start((2, "batch", "hidden"), strict(2, 1, 8), declared=(2, "batch", 8)).notes == []
    assert bind_symbols(build_inputs({"x": (ir.DataType.FLOAT, ("batch", "width"))}), {"x": X}) == {"batch": 1, "width": 3}


def test_a_size_that_comes_back_the_same_twice_is_the_states_own() -> None:
    found = start((2, "batch", "hidden"), lambda state, x: state + np.ones((2, 1, 8), np.float32))
    assert found.tensors["s"].shape == (2, 1, 8)
    assert found.growing == {}


@pytest.mark.parametrize("length", ["past_sequence_length", "length", None])
def test_a_cache_grows_along_its_axis_and_starts_empty(length: str | None) -> None:
    found = start(("batch", 2, length, 4), append)
    assert found.tensors["s"].shape == (1, 2, 0, 4)
    assert found.growing == {"s": (2,)}
    assert found.notes == []


def test_a_cache_that_may_not_be_empty_starts_with_one() -> None:
    def needs_one(state: np.ndarray, x: np.ndarray) -> np.ndarray:
        if state.shape[2] == 0:
            raise InvalidModelError("an empty cache")
        return append(state, x)

    found = start(("batch", 2, "past_length", 4), needs_one)
    assert found.tensors["s"].shape == (1, 2, 1, 4)
    assert found.growing == {"s": (2,)}


def test_what_runs_with_nothing_that_is_tried_asks_for_the_size() -> None:
    with pytest.raises(UnsupportedError, match="axis 2 of 's'") as caught:
        start((2, "batch", "hidden"), strict(2, 1, 8))
    assert caught.value.hint == "give its size with --dim hidden=N"
    with pytest.raises(UnsupportedError, match="rank of 's'"):
        start(None, keep)
