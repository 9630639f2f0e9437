"""Sets that never share: seeded draws in proportion to the labels, whole groups, no sample twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.data.split import (
    check_disjoint,
    draw_indices,
    draw_samples,
    draw_timed_runs,
    hold_back,
    list_prompts,
    list_timed,
)
from onnxslim.pipeline.data_options import DataOptions
from tests.support.decoders import make_decoder, make_texts


@pytest.fixture(scope="session")
def row_model(make: Callable[..., ir.Model]) -> ir.Model:
    """One float input of shape (n, 1)."""
    return make(x=("FLOAT", ["n", 1]))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 9))
def test_a_draw_takes_of_every_class_its_share_rounded_up_or_down(classes: list[int], size: int, seed: int) -> None:
    labels = np.array(classes)
    chosen = draw_indices(labels, len(labels), size, seed)
    assert len(chosen) == min(size, len(labels))
    assert np.all(np.diff(chosen) > 0)
    assert np.array_equal(chosen, draw_indices(labels, len(labels), size, seed))
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        share = count * len(chosen) / len(labels)
        assert np.floor(share) <= np.sum(labels[chosen] == label) <= np.ceil(share)


def test_every_sample_is_drawn_equally_often_whatever_its_class() -> None:
    labels = np.array([0] * 30 + [1] * 9 + [2])
    hits = np.zeros(40)
    for seed in range(2000):
        hits[draw_indices(labels, 40, 8, seed)] += 1
    # 8 / 40 of 2000 draws is 400; the binomial's standard deviation is 18.
    assert np.abs(hits - 400).max() < 5 * 18


def test_labels_that_are_no_classes_are_drawn_plainly() -> None:
    labels = np.linspace(0, 1, 50)
    assert np.array_equal(draw_indices(labels, 50, 10, 3), draw_indices(None, 50, 10, 3))
    assert not np.array_equal(draw_indices(None, 50, 10, 3), draw_indices(None, 50, 10, 4))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=2, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 9),
    st.booleans(),
)
def test_what_is_held_back_is_the_rest_s_complement_and_disjoint_in_content(
    row_model: ir.Model, values: list[int], share: float, seed: int, grouped: bool
) -> None:
    x = np.array(values, np.float32)[:, None]
    groups = np.arange(len(values)) // 3 if grouped else None
    samples = open_samples(x, row_model, group=groups, labels=np.array(values) % 2)
    try:
        rest, held = hold_back(samples, share, seed)
    except InvalidDataError:
        assert len(set(values)) == 1 or grouped
        return
    assert sorted(samples.digests()) == sorted(rest.digests() + held.digests())
    check_disjoint(rest, held)
    if grouped:
        assert rest.groups is not None
        assert held.groups is not None
        assert not set(rest.groups) & set(held.groups)
    else:
        units = len(set(values))
        assert len(set(held.digests())) == min(max(round(share * units), 1), units - 1)


def test_holding_back_keeps_order_labels_and_the_proportion_of_classes(row_model: ir.Model) -> None:
    x = np.arange(100, dtype=np.float32)[:, None]
    labels = np.repeat([0, 1], [80, 20])
    rest, held = hold_back(open_samples(x, row_model, labels=labels), 0.25, seed=7)
    assert held.labels is not None
    assert np.bincount(held.labels).tolist() == [20, 5]
    (batch,) = held.batches(100)
    assert np.all(np.diff(batch["x"][:, 0]) > 0)
    assert np.array_equal(labels[batch["x"][:, 0].astype(int)], held.labels)
    assert held.source == "arrays in memory, a held-back share of 25% (seed 7)"
    assert len(rest) == 75


def test_one_unit_cannot_be_divided_and_a_share_is_between_0_and_1(row_model: ir.Model) -> None:
    same = open_samples(np.ones((5, 1), np.float32), row_model)
    with pytest.raises(InvalidDataError, match="all the same or of one group"):
        hold_back(same, 0.5)
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="expected a number between 0 and 1"):
            hold_back(same, share)


def test_the_same_sample_in_two_sets_is_an_error_that_names_both(row_model: ir.Model) -> None:
    a = open_samples(np.arange(6, dtype=np.float32)[:, None], row_model)
    b = open_samples(np.array([[9], [4], [8], [1]], np.float32), row_model)
    check_disjoint(a, b.take([0, 2]))
    with pytest.raises(InvalidDataError, match=r"2 samples of .* \(by index: 4 = 1, 1 = 3\)"):
        check_disjoint(a, b)


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(3, 9), st.floats(0.05, 0.95), st.booleans(), st.integers(0, 5))
def test_both_sides_of_a_fixed_batch_are_whole_runs(
    make: Callable[..., ir.Model], batch: int, runs: int, share: float, alike: bool, seed: int
) -> None:
    """Nothing is left out where all samples differ; where some are alike, both sides have a run at least or it is said."""
    values = np.arange(batch * runs) // (2 if alike else 1)
    samples = open_samples({"x": values[:, None].astype(np.float32)}, make(x=("FLOAT", [batch, 1])))
    rest, held = hold_back(samples, share, seed)
    check_disjoint(rest, held)
    assert len(rest) % batch == len(held) % batch == 0
    assert len(rest) >= batch
    assert len(held) >= batch
    if not alike:
        assert len(rest) + len(held) == len(samples)
        assert abs(len(held) - share * len(samples)) <= batch
    drawn = draw_samples(samples, batch + 1, seed)
    assert len(drawn) == batch


def test_samples_of_one_fixed_batch_cannot_be_divided_and_how_many_could_is_said(make: Callable[..., ir.Model]) -> None:
    samples = open_samples({"x": np.arange(9, dtype=np.float32)[:, None]}, make(x=("FLOAT", [5, 1])))
    with pytest.raises(UsageError, match="5 samples, expected at least 10 different ones to hold a batch back"):
        hold_back(samples, 0.5)
    with pytest.raises(UsageError, match="--max-samples 3: 3 samples, expected at least 5"):
        open_samples({"x": np.arange(9, dtype=np.float32)[:, None]}, make(x=("FLOAT", [5, 1])), max_samples=3)


@pytest.mark.parametrize("batch", [1, 2, 5, 8, 16, 33])
def test_made_up_samples_fill_as_many_runs_as_there_are_uses(make: Callable[..., ir.Model], batch: int) -> None:
    samples = open_samples("random", make(x=("FLOAT", [batch, 3])))
    assert samples.run_count >= 4
    rest, confirm = hold_back(samples, 0.25)
    fit, tune = hold_back(rest, 0.2)
    assert min(fit.run_count, tune.run_count, confirm.run_count) >= 1
    few = open_samples("random", make(x=("FLOAT", [batch, 3])), max_samples=4)
    assert few.run_count == -(-4 // batch)


def test_of_texts_steps_are_timed_and_prompts_apart() -> None:
    texts = [{"input_ids": text} for text in make_texts(9, 12)]
    samples = DataOptions(state="auto").open(texts, make_decoder())
    times = samples.times
    assert times is not None
    timed = list_timed(samples, 4)
    assert len(timed) == 4
    assert times[timed].min() > 0
    assert times[list_prompts(samples, 8)].tolist() == [0, 0]
    assert len(list_timed(samples, 1000)) == len(samples) - 2


@pytest.mark.parametrize(("total", "size", "batches"), [(9, 1, [1] * 4), (9, 4, [4, 4]), (9, 2, [2] * 4), (3, 8, [8])])
def test_runs_that_are_timed_are_whole_batches(row_model: ir.Model, total: int, size: int, batches: list[int]) -> None:
    samples = open_samples({"x": np.arange(total, dtype=np.float32)[:, None]}, row_model)
    runs = draw_timed_runs(samples, 4, size)
    assert [len(run["x"]) for run in runs] == batches
    assert np.concatenate([run["x"][:, 0] for run in runs]).tolist() == [i % total for i in range(sum(batches))]


def test_runs_that_are_timed_are_as_large_as_the_model_and_shapes_leave_free(make: Callable[..., ir.Model]) -> None:
    fixed = open_samples({"x": np.zeros((10, 1), np.float32)}, make(x=("FLOAT", [5, 1])))
    assert [len(run["x"]) for run in draw_timed_runs(fixed, 4, 2)] == [5, 5]
    rows = [np.zeros(length, np.float32) for length in (3, 3, 4, 4, 4, 5)]
    uneven = open_samples(rows, make(x=("FLOAT", ["n", "m"])))
    assert [run["x"].shape for run in draw_timed_runs(uneven, 4, 6)] == [(3, 4)]
    assert [len(run["x"]) for run in draw_timed_runs(uneven, 4)] == [1] * 4


def test_of_other_data_the_first_samples_are_timed(row_model: ir.Model) -> None:
    samples = open_samples({"x": np.zeros((9, 1), np.float32)}, row_model)
    assert list_timed(samples, 4).tolist() == [0, 1, 2, 3]
    assert len(list_prompts(samples, 4)) == 0
