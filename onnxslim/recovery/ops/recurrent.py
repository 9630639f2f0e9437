"""LSTM, GRU and plain recurrent layers, a step at a time, so that gradients reach through all of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction

#: (x at one step, states) → states; the first state is the output.
StepFunction = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]

_ACTIVATIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "relu": lambda x, a, b: torch.relu(x),
    "tanh": lambda x, a, b: torch.tanh(x),
    "sigmoid": lambda x, a, b: torch.sigmoid(x),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: functional.leaky_relu(x, a),
    "thresholdedrelu": lambda x, a, b: functional.threshold(x, a, 0.0),
    "scaledtanh": lambda x, a, b: a * torch.tanh(b * x),
    "hardsigmoid": lambda x, a, b: torch.clamp(a * x + b, 0, 1),
    "elu": lambda x, a, b: functional.elu(x, a),
    "softsign": lambda x, a, b: functional.softsign(x),
    "softplus": lambda x, a, b: functional.softplus(x),
}
_DEFAULT_ALPHA = {
    "leakyrelu": 0.01,
    "thresholdedrelu": 1.0,
    "hardsigmoid": 0.2,
    "elu": 1.0,
    "affine": 1.0,
    "scaledtanh": 1.0,
}


def _build_activations(call: Call, direction: int, defaults: list[str]) -> list[Callable[[Tensor], Tensor]]:
    """The activation functions of one direction, each clipped before if the node says so."""
    count = len(defaults)
    names = [n.lower() for n in call.get("activations") or defaults * 2][direction * count : (direction + 1) * count]
    alphas = list(call.get("activation_alpha") or [])[direction * count :]
    betas = list(call.get("activation_beta") or [])[direction * count :]
    clip = call.get("clip")

    def build(i: int, name: str) -> Callable[[Tensor], Tensor]:
        a = alphas[i] if i < len(alphas) else _DEFAULT_ALPHA.get(name, 0.0)
        b = betas[i] if i < len(betas) else (0.5 if name == "hardsigmoid" else 0.0)
        function = _ACTIVATIONS[name]
        return lambda x: function(x if clip is None else torch.clamp(x, -clip, clip), a, b)

    return [build(i, name) for i, name in enumerate(names)]


def _run_directions(
    call: Call,
    x: Tensor,
    r: Tensor,
    lengths: Tensor | None,
    given: list[Tensor | None],
    make_step: Callable[[int], StepFunction],
) -> tuple[Tensor, ...]:
    """All directions over time.

    Args:
        call: The node; its ``layout`` says whether time or batch comes first.
        x: (time, batch, features).
        r: Weights of the recurrence, (directions, gates · hidden, hidden).
        lengths: Steps of each sample, or None for all.
        given: The initial states, each (directions, batch, hidden), or None for zeros.
        make_step: Makes the step function of a direction.

    Returns:
        The outputs (time, directions, batch, hidden), zero behind a sample's end, and the last states.
    """
    mode = call.get("direction", "forward")
    batch_first = bool(call.get("layout", 0))
    if batch_first:
        x, given = x.transpose(0, 1), [None if state is None else state.transpose(0, 1) for state in given]
    steps, batch = x.shape[:2]
    zeros = torch.zeros((r.shape[0], batch, r.shape[2]), dtype=x.dtype)
    states = [zeros if state is None else state for state in given]
    outputs, last = [], []
    for direction in range(2 if mode == "bidirectional" else 1):
        backwards = mode == "reverse" or direction == 1
        advance = make_step(direction)
        current = tuple(state[direction] for state in states)
        step_outputs: list[Tensor] = [x.new_empty(0)] * steps
        for t in range(steps - 1, -1, -1) if backwards else range(steps):
            after = advance(x[t], current)
            if lengths is None:
                current, step_outputs[t] = after, after[0]
                continue
            alive = (lengths > t).unsqueeze(1)
            current = tuple(torch.where(alive, a, b) for a, b in zip(after, current, strict=True))
            step_outputs[t] = torch.where(alive, after[0], torch.zeros_like(after[0]))
        outputs.append(torch.stack(step_outputs))
        last.append(current)
    y, finals = torch.stack(outputs, 1), [torch.stack([state[i] for state in last]) for i in range(len(states))]
    return (y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in finals)) if batch_first else (y, *finals)


def _split_bias(b: Tensor | None, direction: int, rows: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The input's and the recurrence's part of the bias."""
    if b is None:
        return like.new_zeros(rows), like.new_zeros(rows)
    return b[direction, :rows], b[direction, rows:]


def rnn(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """h ← f(x·Wᵀ + h·Rᵀ + b)."""

    def make_step(d: int) -> StepFunction:
        (f,) = _build_activations(call, d, ["tanh"])
        bias = sum(_split_bias(b, d, r.shape[2], x))
        return lambda xt, state: (f(xt @ w[d].T + state[0] @ r[d].T + bias),)

    return _run_directions(call, x, r, lengths, [h], make_step)


def gru(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gates in the order update, reset, hidden."""
    n = r.shape[2]

    def make_step(d: int) -> StepFunction:
        f, g = _build_activations(call, d, ["sigmoid", "tanh"])
        wb, rb = _split_bias(b, d, 3 * n, x)

        def advance(xt: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (before,) = state
            projected = xt @ w[d].T + wb
            gates = f(projected[:, : 2 * n] + before @ r[d, : 2 * n].T + rb[: 2 * n])
            update, reset = gates[:, :n], gates[:, n:]
            if call.get("linear_before_reset", 0):
                inner = reset * (before @ r[d, 2 * n :].T + rb[2 * n :])
            else:
                inner = (reset * before) @ r[d, 2 * n :].T + rb[2 * n :]
            return ((1 - update) * g(projected[:, 2 * n :] + inner) + update * before,)

        return advance

    return _run_directions(call, x, r, lengths, [h], make_step)


def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h: Tensor | None = None,
    c: Tensor | None = None,
    p: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gates in the order input, output, forget, cell; peepholes input, output, forget."""
    n = r.shape[2]

    def make_step(d: int) -> StepFunction:
        f, g, out = _build_activations(call, d, ["sigmoid", "tanh", "tanh"])
        bias = sum(_split_bias(b, d, 4 * n, x))
        peep = x.new_zeros(3, n) if p is None else p[d].reshape(3, n)

        def advance(xt: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            before, cell = state
            i, o, forget, fresh = (xt @ w[d].T + before @ r[d].T + bias).split(n, 1)
            i = f(i + peep[0] * cell)
            keep = 1 - i if call.get("input_forget", 0) else f(forget + peep[2] * cell)
            cell = keep * cell + i * g(fresh)
            return f(o + peep[1] * cell) * out(cell), cell

        return advance

    return _run_directions(call, x, r, lengths, [h, c], make_step)


OPS: dict[str, OpFunction] = {"GRU": gru, "LSTM": lstm, "RNN": rnn}
