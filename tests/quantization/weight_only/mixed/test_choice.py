"""How recipes hold a format for each weight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.quantization.linear_layers import WeightMatrix
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.weight_only.mixed.choice import parse_formats, read_choice, write_choice
from onnxslim.quantization.weight_only.mixed.formats import MixedWeight
from tests.support.quantize_graphs import model

FORMATS = ("uint2:64", "uint4:64", "int8:128")


def make_weights(count: int) -> list[MixedWeight]:
    graph = model("g (float[1] x) => (float[1] y) { y = Identity (x) }").graph
    return [MixedWeight(f"w{index}", WeightMatrix(graph.inputs[0]), FORMATS) for index in range(count)]


@given(st.lists(st.sampled_from(FORMATS), min_size=1, max_size=9))
def test_a_choice_is_read_as_it_was_written(texts: list[str]) -> None:
    weights = make_weights(len(texts))
    chosen = {weight.name: text for weight, text in zip(weights, texts, strict=True)}
    written = write_choice(chosen)
    assert read_choice(written, weights) == chosen
    assert sum(not names for names in written.values()) == 1
    assert parse_formats(written) == [BlockFormat.parse(text) for text in written]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"int8:128": ("w0",)}, "one format without names"),
        ({"int8:128": (), "uint4:64": ()}, "one format without names"),
        ({"int4:32": ()}, "does not fit w0"),
        ({"int8:128": (), "int4:32": ("w1",)}, "does not fit w1"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(written: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_choice(written, make_weights(2))


def test_a_choice_for_a_weight_that_the_model_has_not_is_of_another_model() -> None:
    with pytest.raises(InvalidDataError, match="no weight with a choice w7"):
        read_choice({"int8:128": ("w7",)}, make_weights(2))


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="int5:32: unknown"):
        parse_formats({"int5:32": ()})
