"""A mask is what keeps some places from reaching the others; a name or zeros and ones alone are none."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.activations.read_places import ReadPlaces, expand_places, find_read_places
from onnxslim.data.sources import open_samples
from onnxslim.runtime.session import SessionConfig
from tests.support.masked_graphs import LENGTHS, MASKED_SUM, READ, X
from tests.support.onnx_text import build

#: each place by itself
APART = "kept = Cast <to = 1> (flags) axis = Constant <value = int64[1] {2}> () w = Unsqueeze (kept, axis) y = Mul (x, w)"
#: the flags are one more feature of every place
FEATURE = MASKED_SUM.replace("taken = Mul (x, weight)", "taken = Add (x, weight)")


def places_of(body: str, flags: np.ndarray, outputs: str = "float[n,s,4] y") -> ReadPlaces | None:
    model = build(f"(float[n,s,4] x, int64[n,s] flags) => ({outputs}) {{ {body} }}")
    samples = open_samples({"x": X, "flags": flags.astype(np.int64)}, model)
    return find_read_places(model, samples, SessionConfig())


def test_the_places_that_a_mask_takes_out_are_found() -> None:
    found = places_of(MASKED_SUM, READ)
    assert found is not None
    mask = found.get(range(1, 4))
    assert mask is not None
    np.testing.assert_array_equal(mask, READ[1:4])
    assert found.select(range(6), X).shape == (sum(LENGTHS), 4)
    assert found.select(range(6), X[:, :2]).shape == (6, 2, 4)


def test_a_mask_may_mark_what_is_left_out_instead() -> None:
    cast = "kept = Cast <to = 1> (flags)"
    inverted = MASKED_SUM.replace(
        cast, cast.replace("kept", "flag") + " one = Constant <value = float {1}> () kept = Sub (one, flag)"
    )
    found = places_of(inverted, ~READ)
    assert found is not None
    mask = found.get(range(6))
    assert mask is not None
    np.testing.assert_array_equal(mask, READ)


@pytest.mark.parametrize("body", [APART, FEATURE])
def test_flags_that_isolate_nothing_are_no_mask(body: str) -> None:
    assert places_of(body, READ) is None


def test_flags_that_the_model_does_not_run_with_otherwise_are_no_mask() -> None:
    last = "count = ReduceSum <keepdims = 0> (flags) size = Constant <value = int64 {21}> () index = Sub (count, size)"
    body = f"{MASKED_SUM.replace('y = Add (x, total)', '')} {last} z = Gather (x, index) y = Add (z, total)"
    assert READ.sum() - 21 == -1
    assert places_of(body, READ) is None


def test_of_outputs_that_are_sequences_nothing_is_known() -> None:
    assert places_of(f"{MASKED_SUM} z = SequenceConstruct (y, total)", READ, "float[n,s,4] y, seq(float[]) z") is None


def test_without_padding_nothing_is_left_out() -> None:
    assert places_of(MASKED_SUM, np.ones_like(READ)) is None


def test_a_mask_is_found_wherever_the_padding_is() -> None:
    count = 40
    read = np.ones((count, 5), np.bool_)
    read[-3:, 3:] = False
    model = build(f"(float[n,s,4] x, int64[n,s] flags) => (float[n,s,4] y) {{ {MASKED_SUM} }}")
    x = np.random.default_rng(1).standard_normal((count, 5, 4)).astype(np.float32)
    found = find_read_places(model, open_samples({"x": x, "flags": read.astype(np.int64)}, model), SessionConfig())
    assert found is not None
    mask = found.get(range(30, 40))
    assert mask is not None
    np.testing.assert_array_equal(mask, read[30:])


def test_a_mask_of_runs_of_a_fixed_size_is_found_in_a_later_run() -> None:
    read = np.ones((12, 5), np.bool_)
    read[7, 3:] = False
    model = build(f"(float[3,5,4] x, int64[3,5] flags) => (float[3,5,4] y) {{ {MASKED_SUM} }}")
    x = np.random.default_rng(1).standard_normal((12, 5, 4)).astype(np.float32)
    found = find_read_places(model, open_samples({"x": x, "flags": read.astype(np.int64)}, model), SessionConfig())
    assert found is not None
    mask = found.get(range(6, 9))
    assert mask is not None
    np.testing.assert_array_equal(mask, read[6:9])


def test_a_mask_is_spread_over_heads_and_refused_where_two_axes_fit() -> None:
    spread = expand_places(READ, (6, 2, 5, 4))
    assert spread is not None
    np.testing.assert_array_equal(spread.reshape(6, 2, 5), np.repeat(READ[:, None], 2, axis=1))
    assert expand_places(READ, (6, 5, 5, 4)) is None
    assert expand_places(READ, (6, 4)) is None
    assert expand_places(None, (6, 5, 4)) is None
