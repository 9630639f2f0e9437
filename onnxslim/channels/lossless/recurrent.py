"""Facts about LSTM, GRU and RNN: hidden units that start at zero and stay there, whatever comes in.

What is new in a unit's state comes from one gate: where that gate's weights and bias are zero, nothing ever does, and what
the other gates let through of it is nothing (Hochreiter and Schmidhuber, 1997; Cho et al., 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim.channels.lossless.facts import CONSTANT_BASE, ChannelFacts
from onnxslim.channels.lossless.layout_view import NodeView


@dataclass(frozen=True)
class _Cell:
    """How an op keeps its state.

    Attributes:
        gates: How many gates its weights hold.
        new: Which of them makes what is new in the state.
        activations: How many it has a direction.
        zero_at_zero: Which of those have to give 0 for 0.
        states: Inputs that the state starts from.
    """

    gates: int
    new: int
    activations: int
    zero_at_zero: tuple[int, ...]
    states: tuple[int, ...]


#: ONNX orders the gates i, o, f, c and z, r, h; what is new is the last of them.
RECURRENT_CELLS = {
    "LSTM": _Cell(4, 3, 3, (1, 2), (5, 6)),
    "GRU": _Cell(3, 2, 2, (1,), (5,)),
    "RNN": _Cell(1, 0, 1, (0,), (5,)),
}
_ZERO_AT_ZERO = frozenset(("tanh", "relu", "softsign", "leakyrelu", "elu"))


def find_state_facts(view: NodeView) -> list[ChannelFacts] | None:
    """What is known of the outputs of a recurrent net, whose last axis are its hidden units; None for nothing."""
    zero = _find_zero_units(view, RECURRENT_CELLS[view.node.op_type])
    if zero is None or not zero.any():
        return None
    facts = []
    for axis in (3, 2, 2)[: len(view.node.outputs)]:
        unknown = view.bases.add_unknown(len(zero), axis)
        factor = np.where(zero, 0.0, unknown.factor)
        low, high = np.where(zero, 0.0, unknown.low), np.where(zero, 0.0, unknown.high)
        facts.append(ChannelFacts(axis, np.where(zero, CONSTANT_BASE, unknown.base), factor, low, high))
    return facts


def _find_zero_units(view: NodeView, cell: _Cell) -> np.ndarray | None:
    """bool (hidden,): the units that are zero at every step in every direction."""
    weight, recurrence, bias = view.const(1), view.const(2), view.const(3)
    if weight is None or recurrence is None or (bias is None and _is_given(view, 3)) or not _pass_zero(view, cell):
        return None
    directions, hidden = recurrence.shape[0], recurrence.shape[2]
    zero = ~_get_gate(weight, cell, hidden).any(axis=(0, 2))
    if bias is not None:
        both = bias.reshape(directions, 2, cell.gates, hidden)[:, :, cell.new]
        zero &= ~both.any(axis=(0, 1))
    for i in cell.states:
        state = view.const(i)
        if state is not None:
            zero &= ~state.reshape(-1, hidden).any(axis=0)
        elif _is_given(view, i):
            return None
    rows = _get_gate(recurrence, cell, hidden)
    while (heard := zero & rows[:, :, ~zero].any(axis=(0, 2))).any():
        zero &= ~heard
    return np.asarray(zero)


def _get_gate(weight: np.ndarray, cell: _Cell, hidden: int) -> np.ndarray:
    """The rows of the gate that makes what is new: (directions, hidden, inputs)."""
    return weight.reshape(len(weight), cell.gates, hidden, -1)[:, cell.new]


def _is_given(view: NodeView, i: int) -> bool:
    return i < len(view.node.inputs) and view.node.inputs[i] is not None


def _pass_zero(view: NodeView, cell: _Cell) -> bool:
    """Whether the activations on the way of what is new give 0 for 0, as those that are there by default do."""
    if "activations" not in view.node.attributes:
        return True
    names = [name.lower() for name in view.node.attributes["activations"].as_strings()]
    directions = [names[start : start + cell.activations] for start in range(0, len(names), cell.activations)]
    return all(part[i] in _ZERO_AT_ZERO for part in directions for i in cell.zero_at_zero if i < len(part))
