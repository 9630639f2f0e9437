"""What is chosen under a budget, and what is said where none can be met."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import GateError
from onnxslim.graph.cost import compute_cost
from tests.support import nets
from tests.support.pruned import error, run_prune


def test_the_choice_beats_uniform() -> None:
    model = nets.residual(blocks=3)
    chosen, _ = run_prune(model, 150, remove=0.35, of="macs")
    same, _ = run_prune(model, 150, remove=0.35, of="macs", uniform=True)
    assert error(model, chosen) < error(model, same)


@pytest.mark.parametrize("budget", ["threshold", "redundancy"])
def test_more_is_allowed_more_goes(budget: str) -> None:
    model = nets.mlp()
    counts = [compute_cost(run_prune(model, **{budget: share})[0]).params for share in (0.001, 0.05, 0.6)]  # type: ignore[arg-type]
    assert counts[0] >= counts[1] >= counts[2]
    assert counts[2] < compute_cost(model).params


def test_what_cannot_be_met_says_what_can() -> None:
    with pytest.raises(GateError, match=r"asked to remove 99.0% of the params, .*% is the most") as caught:
        run_prune(nets.mlp(), remove=0.99)
    assert "Pinned" in caught.value.message or "pinned" in caught.value.message
    assert caught.value.exit_code == 5
