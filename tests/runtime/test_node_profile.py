"""The runtime's profile, node by node."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.runtime.node_profile import NodeTime, describe_fallback, measure_node_times, summarize_events
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import SessionConfig
from tests.support.digits import FEED


def test_a_profile_names_every_node_that_ran(digits: ir.Model) -> None:
    times = measure_node_times(digits, [FEED], runs=5)
    assert set(times) == {node.name for node in read_optimized_graph(digits).graph}
    assert all(time.provider == "CPUExecutionProvider" for time in times.values())


def test_a_profile_leaves_out_its_warm_up() -> None:
    events = [{"cat": "Node", "name": "n_kernel_time", "dur": d, "args": {"op_name": "Add"}} for d in (900, 10, 20, 30)]
    assert summarize_events(events, warmup=1)["n"].seconds == pytest.approx(20e-6)


def test_nodes_that_ran_elsewhere_are_counted_and_named() -> None:
    nodes = [
        NodeTime("a", "Conv", "CPUExecutionProvider", 3.0),
        NodeTime("b", "Loop", "OtherExecutionProvider", 1.0),
    ]
    assert describe_fallback(nodes, SessionConfig()) == "1 of 2 nodes ran on Other, not on cpu, 25% of the time (Loop)"
    assert describe_fallback(nodes[:1], SessionConfig()) is None
