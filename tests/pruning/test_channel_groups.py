"""Units in families, criteria that rank them, and the columns they own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.criteria import CRITERIA, Evidence
from onnxslim.pruning.importance.ranking import order_by_score, score_units
from onnxslim.runtime.session import SessionConfig
from tests.support import nets

CONFIG = SessionConfig()


def test_every_unit_is_in_one_family() -> None:
    for model in (nets.residual(blocks=3), nets.mobile(), nets.mlp()):
        analysis = analyze_channels(model)
        numbers = np.concatenate([family.units for family in find_channel_groups(analysis)])
        assert sorted(numbers.tolist()) == list(range(analysis.count))


def test_the_channels_inside_a_block_are_one_family_and_the_stream_another() -> None:
    found = find_channel_groups(analyze_channels(nets.residual(blocks=2, width=8)))
    assert [len(family) for family in found] == [8, 8, 8]
    stream, first, second = found
    assert len(stream.readers) == 3
    assert len(first.readers) == len(second.readers) == 1
    assert len(stream.writers) == 3


def test_a_flattened_channel_owns_all_its_positions() -> None:
    b = nets.Builder(["n", 3, 4, 4])
    model = b.model(b.gemm(b.op("Flatten", b.op("Relu", b.conv("x", 3, 6))), 6 * 16, 5))
    (family,) = find_channel_groups(analyze_channels(model))
    (columns,) = family.readers.values()
    np.testing.assert_array_equal(columns, np.arange(96).reshape(6, 16))


def test_a_family_begins_where_its_number_is_first_given() -> None:
    b = nets.Builder(["n", 5, 6])
    # A state of zeros, made ahead of everything that has weights.
    size = b.constant(np.array([1, 5, 4]))
    zeros = b.op("Expand", b.constant(np.zeros(1, np.float32)), size)
    weights = [b.weight(1, 12, 6), b.weight(1, 12, 4), b.weight(1, 24)]
    steps = b.op("GRU", "x", *weights, "", zeros, hidden_size=4)
    last = b.op("Squeeze", steps, b.constant(np.array([1])))
    model = b.model(b.op("MatMul", last, b.weight(4, 3)))
    (family,) = find_channel_groups(analyze_channels(model))
    assert [node.op_type for node in model.graph][family.first_node] == "Expand"


def evidence(**known: object) -> Evidence:
    filters = np.array([[3.0, -4.0], [1.0, 1.0], [0.0, 5.0]])
    given: dict[str, object] = {"filters": [filters], "gamma": [], "deviation": [], "energy": [], "saliency": []}
    return Evidence(**(given | known), rng=np.random.default_rng(0))  # type: ignore[arg-type]


def score(criterion: str, known: Evidence) -> np.ndarray:
    function = CRITERIA[criterion].score
    assert function is not None
    return function(known)


def test_criteria_are_what_their_papers_say() -> None:
    np.testing.assert_allclose(score("l1", evidence()), [7, 2, 5])
    np.testing.assert_allclose(score("l2", evidence()), [5, 2**0.5, 5])
    np.testing.assert_allclose(score("activation", evidence(energy=[np.array([1.0, 2, 3])])), [1, 2, 3])
    gamma, deviation = [np.array([[-2.0], [1], [0]])], [np.array([9.0, 9, 9])]
    np.testing.assert_allclose(score("bn", evidence(gamma=gamma, deviation=deviation)), [2, 1, 0])
    np.testing.assert_allclose(score("bn", evidence(deviation=deviation)), deviation[0])


@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_a_unit_that_the_loss_does_not_feel_goes_first(criterion: str) -> None:
    pytest.importorskip("torch", reason="no torch here")
    model = nets.mlp((16, 12, 5))
    weight = next(v for v in model.graph.initializers.values() if list(v.shape or ()) == [5, 12])
    deaf = weight.const_value.numpy().copy()  # type: ignore[union-attr]
    deaf[:, 7] = 0.0
    weight.const_value = ir.tensor(deaf, name=weight.name)
    analysis = analyze_channels(model)
    found = find_channel_groups(analysis)
    ranked = score_units(model, analysis, found, criterion, nets.samples(model, 40), CONFIG, 0)
    assert ranked[0][7] == 0.0
    assert order_by_score(ranked)[0][0] == 7


@pytest.mark.parametrize("folded", [False, True])
def test_batch_norm_scales_are_read_or_measured(folded: bool) -> None:
    b = nets.Builder(["n", 3, 6, 6])
    gamma = np.array([0.5, 3.0, 1.0, 0.1, 2.0, 0.01], np.float32)
    x = b.conv("x", 3, 6)
    if folded:
        x = b.op("Mul", x, b.constant(gamma.reshape(1, 6, 1, 1)))
    else:
        zeros, ones = np.zeros(6, np.float32), np.ones(6, np.float32)
        x = b.op("BatchNormalization", x, *(b.constant(a) for a in (gamma, zeros, zeros, ones)))
    x = b.conv(b.op("Relu", x), 6, 4)
    model = b.model(b.gemm(b.op("Flatten", b.op("GlobalAveragePool", x)), 4, 3))
    analysis = analyze_channels(model)
    found = find_channel_groups(analysis)
    ranked = score_units(model, analysis, found, "bn", nets.samples(model, 40), CONFIG, 0)
    if not folded:
        np.testing.assert_allclose(ranked[0], gamma, rtol=1e-6)
        assert order_by_score(ranked)[0] == np.argsort(gamma).tolist()
    assert len(ranked[0]) == 6


def test_obs_ranks_nothing_by_itself_and_chance_follows_the_seed() -> None:
    model = nets.mlp()
    analysis = analyze_channels(model)
    found = find_channel_groups(analysis)
    assert score_units(model, analysis, found, "obs", None, CONFIG, 0) == {}
    first, again, other = (score_units(model, analysis, found, "random", None, CONFIG, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


def test_measured_statistics_are_those_of_all_samples() -> None:
    model = nets.mlp((16, 12, 5))
    analysis = analyze_channels(model)
    found = find_channel_groups(analysis)
    data = nets.samples(model, 37)
    ranked = score_units(model, analysis, found, "activation", data, CONFIG, 0)
    x = np.concatenate([batch["x"] for batch in data.batches(8)])
    initializers = {name: v.const_value.numpy() for name, v in model.graph.initializers.items() if v.const_value}
    hidden = np.maximum(x @ initializers["c0"].T + initializers["c1"], 0)
    np.testing.assert_allclose(ranked[0], np.sqrt(np.mean(np.square(hidden), axis=0)), rtol=1e-4)
