"""Placements between all int8 and none: every point the best of its price, the sets nested."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.qdq import placement_front
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, find_fusion_groups
from onnxslim.quantization.qdq.placement import UnitTimes, estimate_total_time
from onnxslim.quantization.qdq.placement_front import (
    MAX_ALIKE,
    PRICES,
    IndependentGroup,
    Placement,
    combine_fronts,
    remeasure_front,
    walk_front,
)
from onnxslim.quantization.targets.onnxruntime_cpu import CPU
from onnxslim.quantization.targets.onnxruntime_cpu import X86_VNNI_COSTS as COSTS
from tests.support.quantize_graphs import model

LAYERS = 6


def chain_of_layers() -> list[FusionGroup]:
    weights = {f"w{i}": np.eye(8, dtype=np.float32) for i in range(LAYERS)}
    body = "\n ".join(f"a{i} = MatMul({'x' if i == 0 else f'r{i - 1}'}, w{i})\n r{i} = Tanh(a{i})" for i in range(LAYERS))
    found = model(f"g (float[4,8] x) => (float[4,8] r{LAYERS - 1}) {{ {body} }}", **weights)
    for index, node in enumerate(found.graph):
        node.name = f"{node.op_type}{index}"
    return find_fusion_groups(found, CPU)


def make_times(units: list[FusionGroup], rng: np.random.Generator) -> UnitTimes:
    names = [unit.name for unit in units]
    values: list[ir.Value] = [value for unit in units for value in (*unit.inputs, *unit.outputs)]
    floats = {unit.name: rng.uniform(10_000, 60_000) if unit.has_weights else 500.0 for unit in units}
    int8 = {name: floats[name] * (rng.uniform(0.1, 0.6) if name.startswith("MatMul") else 1.0) for name in names}
    return UnitTimes(floats, int8, {str(v.name): 32.0 for v in values}, {str(v.name): 2 for v in values}, COSTS)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_points_are_the_best_of_a_price_and_nested_from_the_fastest_to_the_mildest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = chain_of_layers()
    times = make_times(units, rng)
    layers = [unit.name for unit in units if unit.has_weights]
    losses = {name: float(10 ** rng.uniform(-6, 0)) for name in layers}
    fastest = frozenset(layers)
    front = walk_front(units, times, losses, fastest)
    assert front[0].int8 == fastest
    for before, after in itertools.pairwise(front):
        assert after.loss < before.loss
        assert after.int8 < before.int8
    float_time = estimate_total_time(units, frozenset(), times)
    subsets = [frozenset(s) for n in range(len(layers) + 1) for s in itertools.combinations(layers, n)]
    prices = [price * sum(times.floats.values()) / sum(losses.values()) for price in PRICES]
    all_points = [(estimate_total_time(units, s, times), sum(losses[name] for name in s)) for s in subsets]
    for point in front[1:]:
        best = [
            min(seconds + price * loss for seconds, loss in all_points) - (point.seconds * 1e9 + price * point.loss)
            for price in prices
        ]
        # capacities are rounded to a part in 2**28 of their sum
        assert max(best) > -1e-4 * float_time


def test_what_is_not_in_the_fastest_never_comes_back_and_what_is_not_faster_ends_the_walk() -> None:
    units = chain_of_layers()
    times = make_times(units, np.random.default_rng(0))
    layers = [unit.name for unit in units if unit.has_weights]
    losses = {name: 10.0**-i for i, name in enumerate(layers)}
    front = walk_front(units, times, losses, frozenset(layers[:4]))
    assert len(front) > 1
    assert all(point.int8 <= set(layers[:4]) for point in front)
    assert layers[0] in front[0].int8 - front[-1].int8
    float_time = estimate_total_time(units, frozenset(), times)
    assert all(point.int8 and point.seconds * 1e9 < float_time for point in front[1:])
    assert walk_front(units, times, {}, frozenset(layers))[1:] == []


@pytest.mark.parametrize(
    ("additive", "measured", "kept"),
    [
        ((1.0, 0.9, 0.5, 0.4), (1.0, 0.5, 0.4), (1.0, 0.5, 0.4)),
        ((1.0, 0.5, 0.1), (1.0, 1.2, 0.3), (1.0, 0.3)),
        ((1.0,), (2.0,), (2.0,)),
    ],
    ids=["one nearly alike is left out", "one that loses more than the one before is no point", "the fastest alone"],
)
def test_losses_are_measured_anew_on_points_that_differ(
    additive: tuple[float, ...], measured: tuple[float, ...], kept: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    front = [Placement(frozenset([str(i)]), loss, float(i)) for i, loss in enumerate(additive)]
    answers = iter(measured)
    monkeypatch.setattr(placement_front, "MAX_ALIKE", 0)
    assert tuple(point.loss for point in remeasure_front(front, lambda _: next(answers))) == kept


def test_a_few_points_are_all_kept_however_alike() -> None:
    front = [Placement(frozenset([str(i)]), 1.0 - 0.05 * i, float(i)) for i in range(MAX_ALIKE + 1)]
    assert len(remeasure_front(front, lambda int8: 1.0 - 0.05 * int(*int8))) < MAX_ALIKE
    assert len(remeasure_front(front[1:], lambda int8: 1.0 - 0.05 * int(*int8))) == MAX_ALIKE


@given(
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=1, max_size=3),
)
def test_groups_beside_a_front_go_back_where_they_lose_most_for_their_time(
    steps: list[tuple[float, float]], beside: list[tuple[float, float]]
) -> None:
    front = [
        Placement(frozenset(f"u{i}" for i in range(first, len(steps))), sum(s[0] for s in steps[first:]), first + 1.0)
        for first in range(len(steps))
    ]
    groups = [IndependentGroup((f"g{i}",), gain * 1e9, loss) for i, (gain, loss) in enumerate(beside)]
    combined = combine_fronts(front, groups)
    assert combined[0].int8 == front[0].int8 | {f"g{i}" for i in range(len(groups))}
    assert all(later.loss < earlier.loss for earlier, later in itertools.pairwise(combined))
    assert all(later.seconds >= earlier.seconds - 1e-9 for earlier, later in itertools.pairwise(combined))
    assert combine_fronts(front, []) == front


def test_products_of_two_activations_have_no_weights_to_count_where_int8_gains_no_time() -> None:
    text = "g (float[4,8] x) => (float[4,8] y) { a = MatMul(x, w0) t = Transpose(a) p = MatMul(a, t) y = MatMul(p, w1) }"
    found = model(text, w0=np.eye(8, dtype=np.float32), w1=np.ones((4, 8), np.float32))
    for index, node in enumerate(found.graph):
        node.name = f"{node.op_type}{index}"
    units = find_fusion_groups(found, CPU)
    times = make_times(units, np.random.default_rng(0))
    slow = UnitTimes(times.floats, {name: 2 * ns for name, ns in times.floats.items()}, times.elements, times.ranks, COSTS)
    layers = frozenset(unit.name for unit in units if unit.has_weights and unit.why_float is None)
    assert layers == {"MatMul0", "MatMul3"}
    front = walk_front(units, slow, {"MatMul0": 1.0, "MatMul3": 0.01}, layers)
    assert [point.int8 for point in front] == [layers, frozenset({"MatMul3"})]
