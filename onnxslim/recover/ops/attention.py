"""Attention and rotary positions (ONNX 23 and later)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxslim.recover.ops.call import Call, Op


def _heads(x: Tensor, count: int | None) -> Tensor:
    """(batch, heads, time, size), from that or from (batch, time, heads · size)."""
    if x.dim() == 4:
        return x
    assert count is not None
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    filled: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scaled dot products, softmax, weighted values; grouped heads, caches, masks and windows as the operator says."""
    flat = q.dim() == 3
    shared = call.get("kv_num_heads")
    q, k, v = _heads(q, call.get("q_num_heads")), _heads(k, shared), _heads(v, shared)
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    present = k, v
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    root = math.sqrt(call.get("scale") or 1 / math.sqrt(q.shape[-1]))
    scores = (q * root) @ (k * root).transpose(-1, -2)
    stages = [scores]
    bias = _bias(call, scores, mask, past_key, filled)
    softcap = call.get("softcap", 0.0)
    capped = softcap * torch.tanh(scores / softcap) if softcap else scores
    logits = capped + bias
    stages += [capped, logits]
    shares = torch.softmax(logits.double() if logits.dtype == torch.float64 else logits.float(), -1)
    # A query that sees no key attends to nothing.
    shares = shares.masked_fill(torch.isneginf(logits).all(-1, keepdim=True), 0).to(v.dtype)
    stages.append(shares.to(q.dtype))
    y = shares @ v
    if flat:
        y = y.transpose(1, 2).flatten(2)
    mode = call.get("qk_matmul_output_mode", 0)
    return y, *present, stages[mode]


def _bias(
    call: Call, scores: Tensor, mask: Tensor | None, past: Tensor | None, filled: Tensor | None
) -> Tensor:
    """What is added to the scores: 0 where a query sees a key, -inf where it does not, or the float mask."""
    queries, keys = scores.shape[-2:]
    bias = torch.zeros((1, 1, queries, keys), dtype=scores.dtype)
    hidden = float("-inf")
    if mask is not None:
        if mask.shape[-1] < keys:
            fill = False if mask.dtype == torch.bool else hidden
            mask = torch.nn.functional.pad(mask, (0, keys - mask.shape[-1]), value=fill)
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, hidden)
        bias = bias + mask
    batch = scores.shape[0]
    offset = torch.zeros(batch, dtype=torch.int64)
    if past is not None:
        offset = offset + past.shape[2]
    elif filled is not None:
        offset = filled.long() - queries
    key = torch.arange(keys)
    query = torch.arange(queries).reshape(1, 1, -1, 1) + offset.reshape(-1, 1, 1, 1)
    seen = torch.ones((1, 1, 1, keys), dtype=torch.bool)
    if filled is not None:
        seen = seen & (key < filled.reshape(-1, 1, 1, 1))
    if call.get("is_causal", 0):
        seen = seen & (key <= query)
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    if left >= 0:
        seen = seen & (key >= query - left)
    if right >= 0:
        seen = seen & (key <= query + right)
    return bias.masked_fill(~seen, hidden) if not bool(seen.all()) else bias


def rotary_embedding(
    call: Call, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None
) -> Tensor:
    """Pairs of elements rotated by their position (Su et al. 2021, arXiv:2104.09864)."""
    if x.dim() == 4:
        y = x.transpose(1, 2)
    else:
        y = x.reshape(*x.shape[:2], call.get("num_heads"), -1)
    width = call.get("rotary_embedding_dim", 0) or y.shape[-1]
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    turned, rest = y[..., :width], y[..., width:]
    if call.get("interleaved", 0):
        a, b = turned[..., 0::2], turned[..., 1::2]
        turned = torch.stack([cos * a - sin * b, sin * a + cos * b], -1).flatten(-2)
    else:
        a, b = turned.chunk(2, -1)
        turned = torch.cat([cos * a - sin * b, sin * a + cos * b], -1)
    y = torch.cat([turned, rest], -1)
    return y.transpose(1, 2) if x.dim() == 4 else y.reshape(x.shape)


OPS: dict[str, Op] = {"Attention": attention, "RotaryEmbedding": rotary_embedding}
