"""Sequences: every step is fed with the state that the model really has there, however the steps are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.data.split import check_disjoint, hold_back
from onnxslim.data.states.feedback import StateFeedback
from tests.support.leaky_sum import HOW, PAIRS, frames, step

Make = Callable[..., ir.Model]


def states(sequence: np.ndarray) -> np.ndarray:
    """The state before each step of frames (T, 3), shape (T, 2, 4), by a plain loop."""
    state, found = np.zeros((2, 4), np.float32), []
    for frame in sequence:
        found.append(state)
        state = state / 2 + frame.sum()
    return np.stack(found)


def fed(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    batches = list(samples.batches(1))
    return np.concatenate([b["x"] for b in batches]), np.concatenate([np.moveaxis(b["state"], 1, 0) for b in batches])


def check(samples: Samples, sequences: list[np.ndarray]) -> None:
    x, state = fed(samples)
    assert np.array_equal(x, np.concatenate(sequences))
    assert np.allclose(state, np.concatenate([states(s) for s in sequences]), atol=1e-5)
    times = np.concatenate([np.arange(len(s)) for s in sequences])
    assert np.array_equal(samples.times, times)
    assert np.array_equal(samples.continues_previous, times > 0)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_the_state_is_carried_within_a_sequence_and_starts_anew_with_each(leaky_sum: ir.Model, lengths: list[int]) -> None:
    sequences = frames(*lengths)
    check(open_samples([{"x": s} for s in sequences], leaky_sum, feedback=HOW), sequences)


def test_one_array_of_sequences_and_one_in_time_and_a_file_each_are_the_same(tmp_path: Path, leaky_sum: ir.Model) -> None:
    sequences = frames(5, 5)
    np.savez(tmp_path / "both.npz", x=np.stack(sequences))
    check(open_samples(tmp_path / "both.npz", leaky_sum, feedback=HOW), sequences)
    np.savez(tmp_path / "one.npz", x=sequences[0])
    check(open_samples(tmp_path / "one.npz", leaky_sum, feedback=HOW), sequences[:1])
    folder = tmp_path / "files"
    folder.mkdir()
    ragged = frames(4, 7, 1)
    for number, sequence in enumerate(ragged):
        np.save(folder / f"{number}.npy", sequence)
    check(open_samples(folder, leaky_sum, feedback=HOW), ragged)


def test_rows_of_a_table_are_steps_of_the_sequence_that_their_group_names(tmp_path: Path, make: Make) -> None:
    model = make(x=("FLOAT", ["batch"]), state=("FLOAT", ["batch", 1]))
    table = tmp_path / "t.csv"
    table.write_text("x,who\n1.0,a\n2.0,a\n4.0,b\n8.0,b\n")

    def add(feeds: Mapping[str, Any]) -> dict[str, Any]:
        return {"next": feeds["state"] + feeds["x"][:, None]}

    samples = open_samples(table, model, group="who", feedback=StateFeedback(PAIRS, ["next"], add))
    assert np.concatenate([b["state"].ravel() for b in samples.batches(1)]).tolist() == [0, 1, 0, 4]


def test_labels_of_steps_stay_with_them_and_those_of_sequences_hold_for_each_step(leaky_sum: ir.Model) -> None:
    x = np.stack(frames(3, 3))
    by_step = open_samples({"x": x, "labels": np.arange(6).reshape(2, 3)}, leaky_sum, feedback=HOW)
    assert by_step.labels is not None
    assert by_step.labels.tolist() == [0, 1, 2, 3, 4, 5]
    by_sequence = open_samples({"x": x, "labels": np.array([7, 9])}, leaky_sum, feedback=HOW)
    assert by_sequence.labels is not None
    assert by_sequence.labels.tolist() == [7, 7, 7, 9, 9, 9]


def test_of_a_single_sequence_the_end_is_held_back_with_the_state_it_has_there(leaky_sum: ir.Model) -> None:
    (sequence,) = frames(8)
    rest, held = hold_back(open_samples({"x": sequence}, leaky_sum, feedback=HOW), 0.25)
    assert (len(rest), len(held)) == (6, 2)
    assert np.allclose(fed(held)[1], states(sequence)[6:], atol=1e-5)


def test_equal_steps_in_two_sets_prove_nothing_and_equal_sequences_do(leaky_sum: ir.Model) -> None:
    a, b = frames(4, 4)
    a[0] = b[0] = 0.0  # both begin with silence
    first, second = (open_samples({"x": s[None]}, leaky_sum, feedback=HOW) for s in (a, b))
    check_disjoint(first, second)
    with pytest.raises(InvalidDataError, match="1 sequences"):
        check_disjoint(first, first)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"nope": "state"}, "no output nope"),
        ({"next": "nope"}, "no input nope"),
        ({"next": "state", "y": "state"}, "two outputs"),
    ],
)
def test_pairs_that_the_model_does_not_have_are_named(leaky_sum: ir.Model, pairs: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_samples({"x": frames(3)[0]}, leaky_sum, feedback=StateFeedback(pairs, ["y", "next"], step))


def test_a_state_that_comes_back_in_another_shape_is_refused_by_name(leaky_sum: ir.Model) -> None:
    how = StateFeedback({"y": "state"}, ["y", "next"], step)
    with pytest.raises(InvalidDataError, match=r"y=state: the output is float32 of shape \(1, 3\), expected .*\(2, 1, 4\)"):
        open_samples({"x": frames(3)[0]}, leaky_sum, feedback=how)


def test_a_state_of_free_size_starts_with_one_says_so_and_takes_another(make: Make) -> None:
    model = make(x=("FLOAT", ["batch", 3]), state=("FLOAT", [2, "batch", "hidden"]))
    samples = open_samples({"x": frames(3)[0]}, model, feedback=HOW)
    assert fed(samples)[1].shape == (3, 2, 1)
    assert any("zeros of 2x1x1; --dim hidden=N" in line for line in samples.warnings)
    given = open_samples({"x": frames(3)[0]}, model, feedback=HOW, dims={"hidden": 4})
    check(given, frames(3))
    assert given.warnings == []


def test_sequences_of_one_sample_must_be_equally_long_over_the_inputs(make: Make) -> None:
    model = make(x=("FLOAT", ["batch", 3]), z=("FLOAT", ["batch", 1]), state=("FLOAT", [2, "batch", 4]))
    with pytest.raises(InvalidDataError, match="'z' and 'x' differ"):
        open_samples({"x": np.zeros((2, 3, 3), np.float32), "z": np.zeros((2, 4, 1), np.float32)}, model, feedback=HOW)


def test_a_batch_fixed_at_several_samples_is_not_a_sequence(make: Make) -> None:
    model = make(x=("FLOAT", [2, 3]), state=("FLOAT", [2, 4]))
    with pytest.raises(UnsupportedError, match="fixed at 2"):
        open_samples({"x": frames(4)[0]}, model, feedback=HOW)


def test_a_step_is_told_from_an_equal_one_by_what_came_before_it(leaky_sum: ir.Model) -> None:
    (sequence,) = frames(3)
    sequence[2] = sequence[1]
    twice = open_samples([{"x": sequence}, {"x": sequence}], leaky_sum, feedback=HOW)
    digests = twice.digests()
    assert len(set(digests)) == 3
    assert digests[:3] == digests[3:]
    assert twice.take([4, 1]).digests() == [digests[1], digests[1]]
    shorter = open_samples([{"x": sequence[1:]}], leaky_sum, feedback=HOW)
    assert set(shorter.digests()).isdisjoint(digests)
