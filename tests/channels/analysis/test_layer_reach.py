"""What the reach counts."""

from __future__ import annotations

from onnxslim.channels.analysis.analysis import analyze_channels
from tests.support.channel_graphs import convs, model


def test_reach_leaves_the_logits_aside() -> None:
    assert analyze_channels(convs("m = Relu(h)")).prunable_share == 1.0
    assert analyze_channels(convs("m = Softmax<axis=1>(h)")).prunable_share == 0.0
    gemm = analyze_channels(model("h = Relu(x) y = Gemm(h, w)", {"w": (4, 3)}, inputs="float[2,4] x")).layers
    assert [(layer.channels, layer.logits) for layer in gemm] == [(3, True)]
