"""What the reach counts."""

from __future__ import annotations

from onnxslim.channels.analysis.analysis import analyze_channels
from tests.support.channel_graphs import convs, model, recurrent


def test_reach_leaves_the_logits_aside() -> None:
    assert analyze_channels(convs("m = Relu(h)")).prunable_share == 1.0
    assert analyze_channels(convs("m = Softmax<axis=1>(h)")).prunable_share == 0.0
    gemm = analyze_channels(model("h = Relu(x) y = Gemm(h, w)", {"w": (4, 3)}, inputs="float[2,4] x")).layers
    assert [(layer.channels, layer.logits) for layer in gemm] == [(3, True)]


def test_hidden_units_count_and_a_state_of_the_graph_holds_them() -> None:
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        inner = analyze_channels(recurrent(f"{op}<hidden_size=7>", gates)).layers
        assert [(layer.op, layer.channels, layer.free) for layer in inner][:2] == [("MatMul", 8, 8), (op, 7, 7)]
    held = model(
        "a, s = GRU<hidden_size=7>(x, w, r, , , h) f = Squeeze(a, one) y = MatMul(f, v)",
        {"w": (1, 21, 6), "r": (1, 21, 7), "v": (7, 4), "one": [1]},
        inputs="float[5,2,6] x, float[1,2,7] h", outputs="float[?,?,?] y, float[?,?,?] s",
    )  # fmt: skip
    layer = analyze_channels(held).layers[0]
    assert (layer.op, layer.channels, layer.free) == ("GRU", 7, 0)
    assert layer.reason == "graph input (h)"
