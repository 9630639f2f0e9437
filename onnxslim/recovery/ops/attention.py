"""Attention and rotary positions (ONNX 23 and later)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxslim.recovery.ops.call import Call, OpFunction


def _split_heads(x: Tensor, count: int | None) -> Tensor:
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
    valid_lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scaled dot products, softmax, weighted values; grouped heads, caches, masks and windows as the operator says."""
    flat = q.dim() == 3
    kv_heads = call.get("kv_num_heads")
    q, k, v = _split_heads(q, call.get("q_num_heads")), _split_heads(k, kv_heads), _split_heads(v, kv_heads)
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    present = k, v
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    sqrt_scale = math.sqrt(call.get("scale") or 1 / math.sqrt(q.shape[-1]))
    scores = (q * sqrt_scale) @ (k * sqrt_scale).transpose(-1, -2)
    stages = [scores]
    bias = _make_attention_bias(call, scores, mask, past_key, valid_lengths)
    softcap = call.get("softcap", 0.0)
    capped = softcap * torch.tanh(scores / softcap) if softcap else scores
    logits = capped + bias
    stages += [capped, logits]
    probabilities = torch.softmax(logits.double() if logits.dtype == torch.float64 else logits.float(), -1)
    # A query that sees no key attends to nothing.
    probabilities = probabilities.masked_fill(torch.isneginf(logits).all(-1, keepdim=True), 0).to(v.dtype)
    stages.append(probabilities.to(q.dtype))
    y = probabilities @ v
    if flat:
        y = y.transpose(1, 2).flatten(2)
    mode = call.get("qk_matmul_output_mode", 0)
    return y, *present, stages[mode]


def _make_attention_bias(
    call: Call, scores: Tensor, mask: Tensor | None, past: Tensor | None, valid_lengths: Tensor | None
) -> Tensor:
    """What is added to the scores: 0 where a query sees a key, -inf where it does not, or the float mask."""
    queries, keys = scores.shape[-2:]
    bias = torch.zeros((1, 1, queries, keys), dtype=scores.dtype)
    masked_score = float("-inf")
    if mask is not None:
        if mask.shape[-1] < keys:
            fill = False if mask.dtype == torch.bool else masked_score
            mask = torch.nn.functional.pad(mask, (0, keys - mask.shape[-1]), value=fill)
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, masked_score)
        bias = bias + mask
    batch = scores.shape[0]
    offset = torch.zeros(batch, dtype=torch.int64)
    if past is not None:
        offset = offset + past.shape[2]
    elif valid_lengths is not None:
        offset = valid_lengths.long() - queries
    key = torch.arange(keys)
    query = torch.arange(queries).reshape(1, 1, -1, 1) + offset.reshape(-1, 1, 1, 1)
    visible = torch.ones((1, 1, 1, keys), dtype=torch.bool)
    if valid_lengths is not None:
        visible = visible & (key < valid_lengths.reshape(-1, 1, 1, 1))
    if call.get("is_causal", 0):
        visible = visible & (key <= query)
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    if left >= 0:
        visible = visible & (key >= query - left)
    if right >= 0:
        visible = visible & (key <= query + right)
    return bias.masked_fill(~visible, masked_score) if not bool(visible.all()) else bias


def rotary_embedding(call: Call, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
    """Pairs of elements rotated by their position (Su et al. 2021, arXiv:2104.09864)."""
    if x.dim() == 4:
        y = x.transpose(1, 2)
    else:
        y = x.reshape(*x.shape[:2], call.get("num_heads"), -1)
    width = call.get("rotary_embedding_dim", 0) or y.shape[-1]
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    rotated, rest = y[..., :width], y[..., width:]
    if call.get("interleaved", 0):
        a, b = rotated[..., 0::2], rotated[..., 1::2]
        rotated = torch.stack([cos * a - sin * b, sin * a + cos * b], -1).flatten(-2)
    else:
        a, b = rotated.chunk(2, -1)
        rotated = torch.cat([cos * a - sin * b, sin * a + cos * b], -1)
    y = torch.cat([rotated, rest], -1)
    return y.transpose(1, 2) if x.dim() == 4 else y.reshape(x.shape)


OPS: dict[str, OpFunction] = {"Attention": attention, "RotaryEmbedding": rotary_embedding}
