"""Fused attention: channels are (heads, size); queries meet keys in their size, heads are tied, values are kept."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.slot_tracing import Axis


def multi_head_attention(op: Op) -> None:
    """onnxruntime's MultiHeadAttention: query, key, value (N, S, heads × size)."""
    heads = op.get_int("num_heads", 1)
    if (
        any(op.has_input(i) for i in range(3, len(op.operands)))
        or op.has_extra_outputs()
        or not (op.has_input(1) and op.has_input(2))
    ):
        raise DeclinedError("it has a bias, a mask or a past")
    if any(op.rank(i) != 3 for i in range(3)):
        raise DeclinedError("its inputs are packed")
    query, key, value = (op.channels(i, 2) for i in range(3))
    (rows, inner), (key_rows, key_inner), (value_rows, kept) = (
        op.split(slots, (heads, len(slots) // heads)) for slots in (query, key, value)
    )
    op.tie(op.tie(rows, key_rows), value_rows)
    _tie_scores(op, inner, key_inner, op.axis(1, 1), op.axis(2, 1))
    op.record_size("num_heads", {0: rows})
    batch = op.tie(op.tie(op.axis(0, 0), op.axis(1, 0)), op.axis(2, 0))
    op.record_consumer(0, 2, query, (1, 2))
    op.set_output(0, [batch, op.axis(0, 1), op.merge([rows, kept])])


def attention(op: Op) -> None:
    """ONNX's Attention on (N, heads, S, size): each head of the keys serves a run of heads of the queries."""
    if any(op.rank(i) != 4 for i in range(3)) or op.has_extra_outputs() or any(op.has_input(i) for i in (4, 5, 6)):
        raise DeclinedError("its heads are flattened, or it has a past")
    query, key, value = (op.axes(i) for i in range(3))
    heads, groups = op.channels(0, 1), op.channels(1, 1)
    op.tie(groups, value[1])
    rows, _ = op.split(heads, (len(groups), len(heads) // len(groups)))
    op.tie(rows, groups)
    _tie_scores(op, query[3], key[3], key[2], value[2])
    if op.has_input(3) and op.rank(3) > 2 and op.size(3, op.rank(3) - 3) != 1:
        op.join(3, -3, heads)  # a mask for each head
    batch = op.tie(op.tie(query[0], key[0]), value[0])
    op.record_consumer(0, 3, query[3], (1, 3))
    op.set_output(0, [batch, heads, query[2], value[3]])


def packed_attention(op: Op) -> None:
    """onnxruntime's Attention (N, S, I) with one weight (I, 3 × heads × size): whole heads may go."""
    heads, features = op.get_int("num_heads", 1), op.axis(0, 2)
    if any(op.has_input(i) for i in (4, 5, 6)) or op.has_extra_outputs() or "qkv_hidden_sizes" in op.node.attributes:
        raise DeclinedError("it has a past, a bias of its scores, or sizes of its own")
    hidden_size = (op.size(1, 1) or 0) // 3
    rows, inner = op.new_channels(heads), op.new_channels(hidden_size // heads)
    op.pin(inner, "queries meet keys inside, out of reach")
    out = op.merge([rows, inner])
    op.join(1, 0, features)
    for i, a in ((1, 1), (2, 0)):
        op.join(i, a, np.tile(out, 3))
    op.record_size("num_heads", {0: rows})
    op.pin(op.axis(0, 1), "Softmax works along it")
    op.record_consumer(0, 2, features, (1, 0))
    op.record_producer((1, 1), 2, bias=(2, 0))
    op.set_output(0, [op.axis(0, 0), op.axis(0, 1), out])


def _tie_scores(op: Op, query: Axis, key: Axis, key_places: Axis, value_places: Axis) -> None:
    """Queries meet keys in the size of a head, and scores meet values in the places."""
    op.tie(query, key)
    if "scale" not in op.node.attributes:
        op.pin(query, "the size of a head scales its scores")
    op.pin(op.tie(key_places, value_places), "Softmax works along it")


RULES = {
    "Attention": attention,
    "com.microsoft::Attention": packed_attention,
    "com.microsoft::MultiHeadAttention": multi_head_attention,
}
