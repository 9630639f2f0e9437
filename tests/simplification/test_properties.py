"""What holds for every graph: valid, equal, idempotent, never longer, never larger, the same bytes every time."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, seed, settings

from onnxslim.model_io import model_file
from onnxslim.simplification.fixpoint import NOT_UNDERSTOOD
from onnxslim.simplification.step import simplify
from tests.support.equality import assert_simplified, run, same
from tests.support.random_graphs import models

CALM = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


def check(model: ir.Model) -> None:
    before = model_file.to_bytes(model)
    result, report = simplify(model)
    assert model_file.to_bytes(model) == before, "the argument was changed"
    assert_simplified(model, result)
    for batch in (2, 3):
        size = [batch, *(dim for dim in model.graph.inputs[0].shape or () if isinstance(dim, int))]
        feeds = {"x": np.random.default_rng(batch).standard_normal(size).astype(np.float32)}
        one, two = run(model, feeds), run(result, feeds)
        assert list(one) == list(two)
        for name in one:
            assert same(one[name], two[name], rtol=1e-4), (name, report.changed)
    assert not any(NOT_UNDERSTOOD in skipped.reason for skipped in report.skipped)
    again, more = simplify(result)
    assert not more.changed
    assert model_file.to_bytes(again) == model_file.to_bytes(result)
    assert model_file.to_bytes(simplify(before)[0]) == model_file.to_bytes(result)


@settings(max_examples=200, **CALM)
@given(models())
def test_a_random_graph_stays_the_same_function_in_no_more_nodes_and_bytes(model: ir.Model) -> None:
    check(model)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_random_graphs(part: int) -> None:
    @seed(part)
    @settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(models(max_steps=25))
    def thousand(model: ir.Model) -> None:
        check(model)

    thousand()
