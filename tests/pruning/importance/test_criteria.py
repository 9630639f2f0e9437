"""Criteria are what their papers say."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.criteria import CRITERIA, Evidence
from onnxslim.pruning.importance.ranking import order_by_score, score_units
from onnxslim.runtime.session import SessionConfig
from tests.support import nets

CONFIG = SessionConfig()


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
    ranked = score_units(model, RunContext(nets.samples(model, 40)), analysis, found, criterion, 0)
    assert ranked[0][7] == 0.0
    assert order_by_score(ranked)[0][0] == 7


def test_obs_ranks_nothing_by_itself_and_chance_follows_the_seed() -> None:
    model = nets.mlp()
    analysis = analyze_channels(model)
    found = find_channel_groups(analysis)
    assert score_units(model, RunContext(), analysis, found, "obs", 0) == {}
    first, again, other = (score_units(model, RunContext(), analysis, found, "random", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
