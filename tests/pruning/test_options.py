"""What may be asked of the prune step, and what may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import UsageError
from onnxslim.pruning.options import PruneOptions
from tests.support import nets
from tests.support.pruned import run_prune


@given(share=st.one_of(st.floats(max_value=0.0), st.floats(min_value=1.0)), name=st.sampled_from(["remove", "threshold"]))
def test_a_rate_outside_its_range_is_a_usage_error(share: float, name: str) -> None:
    with pytest.raises(UsageError):
        PruneOptions(**{name: share})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"remove": 0.3, "max_size": 100},
        {"of": "joules"},
        {"criterion": "taste"},
        {"round_to": 0},
        {"round_to": "often"},
        {"rounds": 0},
        {"max_size": 0},
        {"min_layer_params": -1},
        {"redundancy": float("nan")},
    ],
)
def test_wrong_options_are_usage_errors(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        PruneOptions(**options)  # type: ignore[arg-type]


def test_latency_needs_data_to_measure_on() -> None:
    with pytest.raises(UsageError, match="needs data"):
        run_prune(nets.mlp(), 0, of="latency", criterion="l2")
