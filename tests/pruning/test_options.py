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
        {},
        {"of": "macs"},
        {"remove": 0.3, "max_size": 100},
        {"remove": 0.3, "of": "joules"},
        {"remove": 0.3, "criterion": "taste"},
        {"remove": 0.3, "round_to": 0},
        {"remove": 0.3, "round_to": "often"},
        {"remove": 0.3, "rounds": 0},
        {"max_size": 0},
        {"remove": 0.3, "min_layer_params": -1},
        {"redundancy": float("nan")},
    ],
)
def test_wrong_options_are_usage_errors(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        PruneOptions(**options)  # type: ignore[arg-type]


def test_latency_needs_data_to_measure_on() -> None:
    with pytest.raises(UsageError, match="needs data"):
        run_prune(nets.mlp(), 0, remove=0.2, of="latency", criterion="l2")


@pytest.mark.parametrize(
    ("options", "reads_clock", "counts_time"),
    [
        ({"remove": 0.3}, True, True), ({"remove": 0.3, "of": "latency", "round_to": 8}, True, True),
        ({"remove": 0.3, "of": "macs"}, True, False), ({"remove": 0.3, "of": "macs", "round_to": 1}, False, False),
        ({"threshold": 0.1}, True, False), ({"sparsity": 0.5}, False, False), ({"remove": 0.3, "cuts": ()}, False, True),
    ],
)  # fmt: skip
def test_a_clock_has_a_say_where_time_or_the_cost_of_widths_counts(
    options: dict[str, object], reads_clock: bool, counts_time: bool
) -> None:
    asked = PruneOptions(**options)  # type: ignore[arg-type]
    assert (asked.reads_clock, asked.counts_time) == (reads_clock, counts_time)
