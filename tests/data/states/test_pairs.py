"""Pairs of states are told by names, as exporters write them, and by nothing that merely looks alike."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.data.model_inputs import Dim, build_inputs
from onnxslim.data.states.pairs import ModelOutput, describe_pairs, find_fixed_difference, find_state_pairs, resolve_state

SHAPE = (2, None, 8)


def pair(
    inputs: list[str], outputs: list[str], shapes: dict[str, tuple[Dim, ...]] | None = None, floats: bool = True
) -> dict[str, str]:
    """What is found among inputs and outputs of one shape, ``shapes`` aside."""
    dtype = ir.DataType.FLOAT if floats else ir.DataType.INT64
    built = build_inputs({name: (dtype, (shapes or {}).get(name, SHAPE)) for name in inputs})
    return find_state_pairs(built, [ModelOutput(o, ir.DataType.FLOAT, (shapes or {}).get(o, SHAPE)) for o in outputs])


@pytest.mark.parametrize(
    ("input_name", "output_name"),
    [
        ("past_key_values.0.key", "present.0.key"),
        ("past_key_values.11.decoder.value", "present.11.decoder.value"),
        ("past_key_values.3.key", "present_key_values.3.key"),
        ("past_0", "present_0"),
        ("past_key_self_0", "present_key_self_0"),
        ("past_key_values", "present_key_values"),
        ("h", "h_out"),
        ("h", "hn"),
        ("h0", "hn"),
        ("c_0", "c_n"),
        ("h_in", "h_out"),
        ("state", "stateN"),
        ("states", "new_states"),
        ("in_state", "out_state"),
        ("cache_in", "cache_out"),
        ("att_cache", "r_att_cache"),
        ("cached_key_2", "new_cached_key_2"),
        ("prev_hidden", "next_hidden"),
        ("lstm_cell_input", "lstm_cell_output"),
    ],
)
def test_names_that_exporters_give_go_together(input_name: str, output_name: str) -> None:
    assert pair(["x", input_name], ["y", output_name]) == {output_name: input_name}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (["input"], ["output"]),
        (["audio_in"], ["audio_out"]),
        (["mask"], ["mask"]),
        (["h_a", "h_b"], ["y", "z"]),
        (["state_1", "state_2"], ["state_3"]),
        (["h_in", "h"], ["h_out"]),
    ],
)
def test_what_is_no_state_or_could_go_with_two_is_left_alone(inputs: list[str], outputs: list[str]) -> None:
    assert pair(inputs, outputs) == {}


def test_several_states_keep_their_numbers_and_the_order_of_the_inputs() -> None:
    inputs = ["ids", *(f"past_key_values.{i}.{kind}" for i in range(12) for kind in ("key", "value"))]
    outputs = [f"present.{i}.{kind}" for kind in ("value", "key") for i in reversed(range(12))]
    found = pair(inputs, ["logits", *outputs])
    assert list(found.values()) == inputs[1:]
    assert all(output.split(".")[1:] == name.split(".")[1:] for output, name in found.items())


def test_types_and_ranks_have_to_go_together() -> None:
    assert pair(["h"], ["h_out"], floats=False) == {}
    assert pair(["h"], ["h_out"], {"h": (2, 8)}) == {}


def test_fixed_dimensions_are_compared_and_free_ones_are_not() -> None:
    assert find_fixed_difference((1, None, 64), ("batch", 4, 64)) is None
    assert find_fixed_difference((1, 4, 64), (1, 4, 32)) == 2
    assert find_fixed_difference((1, 4), (1, 4, 32)) == -1
    assert find_fixed_difference(None, (1, 4, 32)) is None


def test_named_pairs_come_first_and_auto_adds_the_rest() -> None:
    inputs = build_inputs(dict.fromkeys(("x", "h", "memory_5"), (ir.DataType.FLOAT, SHAPE)))
    outputs = [ModelOutput(name, ir.DataType.FLOAT, SHAPE) for name in ("y", "h_out", "stack_2")]
    named = {"stack_2": "memory_5"}
    assert resolve_state(named, inputs, outputs) == named
    assert resolve_state({"auto": "", **named}, inputs, outputs) == {**named, "h_out": "h"}
    assert resolve_state("auto", inputs, outputs) == {"h_out": "h"}


def test_where_names_tell_nothing_the_candidates_are_named() -> None:
    inputs = build_inputs({"frame": (ir.DataType.FLOAT, (1, 16)), "input_3": (ir.DataType.FLOAT, SHAPE)})
    outputs = [ModelOutput("mask", ir.DataType.FLOAT, (1, 8)), ModelOutput("stack_2", ir.DataType.FLOAT, SHAPE)]
    with pytest.raises(UsageError, match="--state auto") as caught:
        resolve_state("auto", inputs, outputs)
    assert "stack_2=input_3 for 'input_3'" in str(caught.value.hint)


def test_many_pairs_are_counted() -> None:
    assert describe_pairs({f"o{i}": f"i{i}" for i in range(5)}) == "o0=i0, o1=i1, o2=i2 and 2 more"
