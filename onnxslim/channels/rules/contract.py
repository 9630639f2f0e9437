"""Contract: input channels meet the weight's input axis and are summed away, its output axis makes new channels."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op


def conv(op: Op) -> None:
    """(N, C, …) with weight (M, C / group, …): channels are (group, within), and groups are tied across the weight."""
    x, groups = op.channels(0, 1), op.get_int("group", 1)
    rows, columns = op.split(x, (groups, len(x) // groups))
    out = op.merge([rows, op.new_channels((op.size(1, 0) or 0) // groups)])
    op.join(1, 0, out)
    op.join(1, 1, columns)
    _set_conv_output(op, rows, out)
    op.record_consumer(0, 1, columns, (1, 1))
    op.record_producer((1, 0), 1, bias=(2, 0))


def conv_transpose(op: Op) -> None:
    """(N, C, …) with weight (C, M / group, …)."""
    x, groups = op.channels(0, 1), op.get_int("group", 1)
    rows, _ = op.split(x, (groups, len(x) // groups))
    op.join(1, 0, x)
    within = op.new_channels(op.size(1, 1) or 0)
    op.join(1, 1, within)
    _set_conv_output(op, rows, op.merge([rows, within]))
    op.record_consumer(0, 1, x, (1, 0))
    op.record_producer((1, 1), 1, bias=(2, 0) if groups == 1 else None)


def _set_conv_output(op: Op, groups: np.ndarray, out: np.ndarray) -> None:
    if op.has_input(2):
        op.join(2, 0, out)
    if len(groups) > 1:
        op.record_size("group", {0: groups})
    op.fill_output(0, {0: op.axis(0, 0), 1: out})


def matmul(op: Op) -> None:
    """(…, M, K) with (…, K, N): either side may be the weight, or neither (attention)."""
    left, right = op.rank(0), op.rank(1)
    if left < 2 or right < 2:
        raise DeclinedError("a factor is a vector")
    weight, other = (0, 1) if op.is_constant[0] and not op.is_constant[1] else (1, 0)
    ranks, summed, kept = (left, right), (left - 1, right - 2), (left - 2, right - 1)
    batch = [
        op.join_aligned([(i, r - back) for i, r in ((other, ranks[other]), (weight, ranks[weight])) if r >= back])
        for back in range(max(left, right), 2, -1)
    ]
    slots = op.join(weight, summed[weight], op.axis(other, summed[other]))
    op.set_output(0, [*batch, op.axis(0, kept[0]), op.axis(1, kept[1])])
    op.record_consumer(other, summed[other], slots, (weight, summed[weight]))
    op.record_producer((weight, kept[weight]), len(batch) + weight)


def gemm(op: Op) -> None:
    """A (M, K) or its transpose, B (K, N) or its transpose, C broadcast to (M, N)."""
    rows, summed = (1, 0) if op.get_int("transA", 0) else (0, 1)
    inner, columns = (1, 0) if op.get_int("transB", 0) else (0, 1)
    weight, other = ((0, summed), (1, inner)) if op.is_constant[0] and not op.is_constant[1] else ((1, inner), (0, summed))
    slots = op.join(*weight, op.axis(*other))
    out = [op.axis(0, rows), op.axis(1, columns)]
    bias = None
    if op.has_input(2):
        rank = op.rank(2)
        for a in range(rank):
            target = 2 - rank + a
            if op.size(2, a) != 1:
                out[target] = op.join(2, a, out[target])
                bias = (2, a) if target == weight[0] else bias
    op.set_output(0, out)
    op.record_consumer(*other, slots, weight)
    op.record_producer((weight[0], columns if weight[0] == 1 else rows), weight[0], bias=bias)


def einsum(op: Op) -> None:
    """Axes with the same letter are the same; a letter that only one operand has is a plain sum, and stays."""
    equation = op.get_string("equation", "").replace(" ", "")
    if "." in equation or "->" not in equation:
        raise DeclinedError("an equation with an ellipsis or without an arrow")
    left, result = equation.split("->")
    terms = left.split(",")
    if any(len(set(term)) < len(term) for term in [*terms, result]):
        raise DeclinedError("an equation that takes a diagonal")
    occurrences: dict[str, list[tuple[int, int]]] = {}
    for i, term in enumerate(terms):
        for a, letter in enumerate(term):
            occurrences.setdefault(letter, []).append((i, a))
    axes = {}
    for letter, sides in occurrences.items():
        if len(sides) > 1 or letter in result:
            sides = sorted(sides, key=lambda side: op.is_constant[side[0]])
            axes[letter] = op.join_aligned(sides)
            if letter not in result:
                for side in sides[:-1]:
                    op.record_consumer(*side, axes[letter], sides[-1])
            elif len(sides) == 1:
                op.record_producer(sides[0], result.index(letter))
    op.set_output(0, [axes[letter] for letter in result])


RULES = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "com.microsoft::FusedConv": conv,
    "Einsum": einsum,
}
