"""LSTM, GRU, RNN: the hidden size is tied across gates, recurrence, biases, peepholes, states and directions."""

from __future__ import annotations

from functools import partial

import numpy as np

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.slot_tracing import Axis


def recurrent(gates: int, op: Op) -> None:
    """X (S, N, I), W (D, gates H, I), R (D, gates H, H), B (D, 2 gates H), states (D, N, H), peepholes (D, 3 H)."""
    if op.get_int("layout", 0):
        raise DeclinedError("its layout is batch first")
    size = op.size(2, 2)
    if size is None:
        raise DeclinedError("its hidden size is not known")
    hidden = op.new_channels(size)
    state: Axis = hidden
    steps, batch, features = op.axes(0)
    all_gates = np.tile(hidden, gates)
    op.join(1, 1, all_gates)
    features = op.join(1, 2, features)
    op.join(2, 1, all_gates)
    op.join(2, 2, hidden)
    if op.has_input(3):
        op.join(3, 1, np.tile(hidden, 2 * gates))
    if op.has_input(4):
        batch = op.join(4, 0, batch)
    for i in (5, 6):
        if op.has_input(i):
            batch = op.join(i, 1, batch)
            state = op.join(i, 2, state)
    if op.has_input(7):
        op.join(7, 1, np.tile(hidden, 3))
    directions = op.fixed_slots(op.size(1, 0) or 1)
    op.set_output(0, [steps, directions, batch, state])
    op.set_output(1, [directions, batch, state])
    op.set_output(2, [directions, batch, state])
    op.record_size("hidden_size", {0: hidden})
    op.record_consumer(0, 2, features, (1, 2))
    op.record_consumer(2, 2, hidden, (2, 2))  # the recurrence reads its own last state
    op.record_producer((1, 1), 3, bias=(3, 1))


RULES = {"LSTM": partial(recurrent, 4), "GRU": partial(recurrent, 3), "RNN": partial(recurrent, 1)}
