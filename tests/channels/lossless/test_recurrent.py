"""Hidden units that never leave zero go from a recurrent net, and nothing else does."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.channels.lossless.recurrent import RECURRENT_CELLS
from onnxslim.channels.lossless.removal import ALWAYS_ZERO, remove_lossless
from tests.support.channel_graphs import model, recurrent, sizes
from tests.support.dead_channels import put, reduced, weight

CELLS = sorted(RECURRENT_CELLS)


def make(op: str, directions: int = 1, attributes: str = "", dead: tuple[int, ...] = (2, 5)) -> ir.Model:
    """A net of 7 hidden units, of which the gate that makes what is new is silent for ``dead`` ones."""
    cell = RECURRENT_CELLS[op]
    direction = ', direction="bidirectional"' if directions == 2 else ""
    net = recurrent(
        f"{op}<hidden_size=7{direction}{attributes}>", cell.gates, ", b", directions, b=(directions, 2 * cell.gates * 7)
    )
    w, r, b = weight(net, "w"), weight(net, "r"), weight(net, "b")
    for unit in dead:
        row = 7 * cell.new + unit
        w[:, row], b[:, row], b[:, 7 * cell.gates + row] = 0, 0, 0
        r[:, row, [u for u in range(7) if u not in dead]] = 0
    return put(net, w=w, r=r, b=b)


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize("directions", [1, 2])
def test_units_that_stay_at_zero_go(op: str, directions: int) -> None:
    report, result = reduced(make(op, directions))
    assert report.changed[ALWAYS_ZERO] == 2
    assert sizes(result)["r"] == (directions, 5 * RECURRENT_CELLS[op].gates, 5)


def test_the_last_state_tells_it_too() -> None:
    net = model(
        "a, s = LSTM<hidden_size=7>(x, w, r) f = Squeeze(s, zero) u = Unsqueeze(f, one) g = Squeeze(u, one)"
        " y = MatMul(g, w_out)",
        {"w": (1, 28, 6), "r": (1, 28, 7), "w_out": (7, 4), "zero": [0], "one": [1]},
        inputs="float[5,2,6] x",
    )
    w, r = weight(net, "w"), weight(net, "r")
    w[:, 24], r[:, 24] = 0, 0
    report, _ = reduced(put(net, w=w, r=r))
    assert report.changed == {ALWAYS_ZERO: 1}


@pytest.mark.parametrize("op", CELLS)
def test_a_bias_a_state_or_another_activation_keeps_them(op: str) -> None:
    net = make(op, dead=(2,))
    b = weight(net, "b")
    b[:, 7 * RECURRENT_CELLS[op].new + 2] = 0.1
    assert remove_lossless(put(net, b=b)).changed == {}
    names = {"LSTM": '["Sigmoid", "Sigmoid", "Tanh"]', "GRU": '["Sigmoid", "Sigmoid"]', "RNN": '["Sigmoid"]'}
    assert remove_lossless(make(op, attributes=f", activations={names[op]}", dead=(2,))).changed == {}
    started = recurrent(f"{op}<hidden_size=7>", RECURRENT_CELLS[op].gates, ", , , h0", h0=np.ones((1, 2, 7), np.float32))
    assert remove_lossless(started).changed == {}
