"""Names of outputs."""

from __future__ import annotations

import pytest

from onnxslim.validation.output_kinds.name_hints import hints_at, is_cache_name, split_words


def test_names_are_read_word_by_word() -> None:
    assert split_words("lastHidden_state.0:1") == ["last", "hidden", "state", "0", "1"]
    assert hints_at("sentence_embedding", "embeddings")
    assert not hints_at("membership", "embeddings")
    assert not hints_at("catalogits", "classes")


@pytest.mark.parametrize("name", ["present.0.key", "present_key_values", "past_key_values_out", "kv_cache_1"])
def test_caches_are_called_so(name: str) -> None:
    assert is_cache_name(name)


def test_other_names_are_no_caches() -> None:
    assert not is_cache_name("presentation")
    assert not is_cache_name("logits")
