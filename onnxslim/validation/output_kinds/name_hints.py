"""What names of outputs say, where the values leave it open."""

from __future__ import annotations

import re

_WORD_PATTERN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

#: Words in names, by what they speak for.
_HINTS: dict[str, frozenset[str]] = {
    "classes": frozenset(
        ("logit", "logits", "prob", "probs", "probability", "probabilities", "class", "classes", "scores", "softmax")
    ),
    "embeddings": frozenset(
        ("embed", "embeds", "embedding", "embeddings", "emb", "feature", "features", "feat", "feats", "vector", "pooled",
         "pooler", "dvector", "xvector", "latent")
    ),
    "hidden states": frozenset(("hidden", "encoder", "token", "tokens")),
    "numbers": frozenset(
        ("landmark", "landmarks", "keypoint", "keypoints", "kpt", "kpts", "pose", "points", "offset", "offsets", "bbox",
         "box", "boxes", "regression", "depth", "pitch", "angle", "forecast", "quantiles", "waveform", "audio", "mel", "age")
    ),
    "states": frozenset(
        ("state", "states", "hidden", "cell", "h", "c", "hn", "cn", "hx", "cx", "cache", "rnn", "lstm", "gru")
    ),
}  # fmt: skip


def split_words(name: str) -> list[str]:
    """The words of ``name``, lower case: ``lastHidden_state`` → last, hidden, state."""
    return [word.lower() for word in _WORD_PATTERN.findall(name)]


def hints_at(name: str, kind: str) -> bool:
    """Whether ``name`` has a word that speaks for ``kind``, a key of the table above."""
    return not _HINTS[kind].isdisjoint(split_words(name))


def is_cache_name(name: str) -> bool:
    """Whether ``name`` is that of keys or values which a decoder keeps."""
    words = split_words(name)
    return words[:1] == ["present"] or words[:2] == ["past", "key"] or {"kv", "cache"} <= set(words)
