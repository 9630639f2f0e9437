"""Inputs that follow the tokens are told by names and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.model_inputs import build_inputs, get_model_inputs
from onnxslim.data.states.pairs import find_state_pairs, get_model_outputs
from onnxslim.data.states.token_layout import TokenLayout, find_token_layout
from tests.support.decoders import make_decoder


def find(model: ir.Model) -> TokenLayout | None:
    inputs = get_model_inputs(model)
    return find_token_layout(inputs, find_state_pairs(inputs, get_model_outputs(model)))


@pytest.mark.parametrize("variant", [{}, {"mask": True}, {"position_ids": True, "merged": True}, {"cross": True}], ids=str)
def test_decoders_are_recognized(variant: dict[str, Any]) -> None:
    layout = find(make_decoder(**variant))
    assert layout is not None
    assert layout.ids.name == "input_ids"
    assert [i.name for i in layout.masks] == ["attention_mask"] * bool(variant.get("mask"))
    assert [i.name for i in layout.positions] == ["position_ids"] * bool(variant.get("position_ids"))
    assert [i.name for i in layout.switches] == ["use_cache_branch"] * bool(variant.get("merged"))


def test_a_state_of_fixed_size_makes_no_decoder() -> None:
    inputs = build_inputs({"char": (ir.DataType.INT64, ("batch", "n")), "h": (ir.DataType.FLOAT, (1, "batch", 8))})
    assert find_token_layout(inputs, {"h_out": "h"}) is None


def test_feeds_count_along_with_the_tokens() -> None:
    layout = find(make_decoder(mask=True, position_ids=True, merged=True))
    assert layout is not None
    feeds = layout.make_feeds(np.array([5, 6]), 3)
    assert feeds["input_ids"].tolist() == [[5, 6]]
    assert feeds["attention_mask"].tolist() == [[1] * 5]
    assert feeds["position_ids"].tolist() == [[3, 4]]
    assert feeds["use_cache_branch"].tolist() == [True]
    assert layout.make_feeds(np.array([5]), 0)["use_cache_branch"].tolist() == [False]


def test_positions_of_one_axis_have_no_batch() -> None:
    inputs = build_inputs(
        {"ids": (ir.DataType.INT64, ("b", "n")), "cache_position": (ir.DataType.INT64, ("n",)),
         "past": (ir.DataType.FLOAT, ("b", 1, "p", 4))}
    )  # fmt: skip
    layout = find_token_layout(inputs, {"present": "past"})
    assert layout is not None
    assert layout.make_feeds(np.array([5, 6]), 3)["cache_position"].tolist() == [3, 4]


def test_counts_are_told_by_their_names_and_other_numbers_are_left_to_the_data() -> None:
    numbers = ("past_length", "write_indices", "total_length", "speaker_index", "start_token")
    inputs = build_inputs(
        {"ids": (ir.DataType.INT64, ("b", "n")), "past": (ir.DataType.FLOAT, ("b", 1, "p", 4)),
         "pixel_attention_mask": (ir.DataType.BOOL, ("b", 1, 8, 8)),
         **dict.fromkeys(numbers, (ir.DataType.INT64, ("b",)))}
    )  # fmt: skip
    layout = find_token_layout(inputs, {"present": "past"})
    assert layout is not None
    feeds = layout.make_feeds(np.array([5, 6]), 3)
    assert {name: feed.tolist() for name, feed in feeds.items() if name != "ids"} == {
        "past_length": [3], "write_indices": [3], "total_length": [5],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "seen", "hidden"), [(ir.DataType.FLOAT, 0, np.finfo(np.float32).min), (ir.DataType.BOOL, True, False)]
)
def test_a_mask_of_tokens_by_cached_tokens_is_causal(dtype: ir.DataType, seen: float, hidden: float) -> None:
    inputs = build_inputs(
        {"ids": (ir.DataType.INT64, ("b", "n")), "attention_mask": (dtype, ("b", 1, "n", "total")),
         "past": (ir.DataType.FLOAT, ("b", 1, "p", 4))}
    )  # fmt: skip
    layout = find_token_layout(inputs, {"present": "past"})
    assert layout is not None
    mask = layout.make_feeds(np.array([5, 6]), 1)["attention_mask"]
    assert mask.tolist() == [[[[seen, seen, hidden], [seen, seen, seen]]]]
