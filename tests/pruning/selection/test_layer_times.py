"""Every node of a profile is some layer's time, or nobody's."""

from __future__ import annotations

import pytest

from onnxslim.pruning.selection.layer_times import LayerTimes
from onnxslim.runtime.node_profile import NodeTime, measure_node_times
from onnxslim.runtime.session import SessionConfig
from tests.support import nets

CONFIG = SessionConfig()


def test_time_goes_to_the_layer_a_fused_node_stands_for() -> None:
    model = nets.residual(blocks=1)
    names = {node.op_type: [n for n in model.graph if n.op_type == node.op_type] for node in model.graph}
    first, inner, last = names["Conv"]
    relu = names["Relu"][0]
    times = {
        f"{relu.outputs[0].name}_nchwc": 1.0,  # the first Conv with its Relu, named after what the Relu puts out
        f"{inner.outputs[0].name}_nchwc": 2.0,
        f"{last.name}": 4.0,
        "ReorderInput_token_3": 8.0,
    }
    profile = LayerTimes(model, {name: NodeTime(name, "Conv", "cpu", seconds) for name, seconds in times.items()})
    assert profile.total_seconds([]) == 8.0
    assert profile.total_seconds([str(first.name)]) == 9.0
    assert profile.total_seconds([str(inner.name), str(last.name)]) == 14.0
    assert profile.total_seconds(["nobody"]) == 8.0


@pytest.mark.parametrize("make", [nets.residual, nets.mobile, nets.mlp])
def test_nearly_all_of_a_real_profile_finds_its_layer(make: object) -> None:
    model = make()  # type: ignore[operator]
    feeds = [dict(batch) for batch in nets.samples(model, 1).batches(1)]
    times = measure_node_times(model, feeds, CONFIG, runs=3, warmup=1)
    profile = LayerTimes(model, times)
    layers = [str(node.name) for node in model.graph if node.op_type in ("Conv", "Gemm")]
    assert set(profile.layers) == set(layers)
    assert profile.total_seconds(layers) == pytest.approx(sum(time.seconds for time in times.values()))
