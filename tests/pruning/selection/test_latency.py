"""Time as a budget. Nothing here asserts how long anything takes; only that what was measured is used right."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.pruning.block_dropping import find_droppable
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.importance.error_curves import compute_error_curves
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.latency import CHANNEL_MULTIPLE, LatencyMeter, _LayerTimes
from onnxslim.runtime.node_profile import NodeTime, measure_node_times
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.timing import Timing
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
    profile = _LayerTimes(model, {name: NodeTime(name, "Conv", "cpu", seconds) for name, seconds in times.items()})
    assert profile.total_seconds([]) == 8.0
    assert profile.total_seconds([str(first.name)]) == 9.0
    assert profile.total_seconds([str(inner.name), str(last.name)]) == 14.0
    assert profile.total_seconds(["nobody"]) == 8.0


@pytest.mark.parametrize("make", [nets.residual, nets.mobile, nets.mlp])
def test_nearly_all_of_a_real_profile_finds_its_layer(make: object) -> None:
    model = make()  # type: ignore[operator]
    feeds = [dict(batch) for batch in nets.samples(model, 1).batches(1)]
    times = measure_node_times(model, feeds, CONFIG, runs=3, warmup=1)
    profile = _LayerTimes(model, times)
    layers = [str(node.name) for node in model.graph if node.op_type in ("Conv", "Gemm")]
    assert set(profile._layer_seconds) == set(layers)
    assert profile.total_seconds(layers) == pytest.approx(sum(time.seconds for time in times.values()))


def test_widths_are_whole_blocks_of_channels_and_blocks_save_their_layers() -> None:
    model = nets.residual(blocks=2, width=32)
    data = nets.samples(model, 20)
    analysis = analyze_channels(model)
    lines, _ = compute_error_curves(model, RunContext(data, CONFIG), analysis, find_channel_groups(analysis))
    found = Candidates(model, analysis, lines, find_droppable(model, []), data, CONFIG)
    clock = LatencyMeter(model, data, CONFIG)
    savings = clock.measure_savings(found, "auto")
    for gone, saved in savings.curves:
        assert gone[0] == 0
        assert saved[0] == 0
        assert ((32 - gone) % CHANNEL_MULTIPLE == 0).all()
        assert np.isfinite(saved).all()
    assert all(saved > 0 for saved in savings.blocks)
    assert clock.measure_seconds(model) > 0


@pytest.mark.parametrize(("jitter", "noisy"), [(0.01, False), (0.8, True)])
def test_a_machine_too_noisy_for_the_times_to_be_believed_is_said(
    jitter: float, noisy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)

    def timed(sessions: dict[str, object], *_: object, **__: object) -> Timing:
        return Timing({name: 1 + jitter * rng.random(40) for name in sessions}, "cpu", 1, 1)

    monkeypatch.setitem(LatencyMeter.measure_seconds.__globals__, "interleave", timed)
    model = nets.residual(blocks=1)
    clock = LatencyMeter(model, nets.samples(model, 4), CONFIG)
    assert clock.noise_warning() is None
    clock.measure_seconds(model)
    assert (clock.noise_warning() is not None) == noisy
