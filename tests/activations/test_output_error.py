"""Errors and decibels against their definitions, and a reference's outputs against models off by a known share."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.activations import output_error
from onnxslim.activations.output_error import (
    ReferenceOutputs,
    compute_sqnr_db,
    difference,
    relative_error,
    squared_error,
    to_decibels,
)
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model

SCALED = "g (float[1,4] x) => (float[1,4] y, int64[2] size) {{ y = Mul (x, factor)\n size = Shape (x) }}"


@given(st.floats(1e-20, 1e20), st.floats(1e-20, 1e20))
def test_decibels_of_two_energies(signal: float, noise: float) -> None:
    assert 10 ** (compute_sqnr_db(signal, noise) / 10) == pytest.approx(signal / noise, rel=1e-9)
    assert -to_decibels(noise / signal) == pytest.approx(compute_sqnr_db(signal, noise), abs=1e-9)


def test_decibels_at_their_ends() -> None:
    assert compute_sqnr_db(1.0, 0.0) == compute_sqnr_db(0.0, 0.0) == -to_decibels(0.0) == math.inf
    assert compute_sqnr_db(0.0, 1.0) == compute_sqnr_db(1.0, math.nan) == compute_sqnr_db(1.0, math.inf) == -math.inf
    assert -to_decibels(math.inf) == -math.inf
    assert relative_error(1.0, 0.0) > 1e29


def test_half_precision_is_compared_in_double() -> None:
    assert squared_error(np.full(400, 304, np.float16), np.full(400, -304, np.float16)) == 400 * 608.0**2


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_a_difference_of_two_equal_infinities_is_none(shape: tuple[int, ...]) -> None:
    a = np.array([np.inf, -np.inf, np.nan, 1.0]).reshape(shape)
    assert not difference(a, a).any()
    assert difference(a, -a).reshape(-1)[0] == np.inf


def test_a_scalar_that_is_nan_on_both_sides_does_not_differ() -> None:
    assert difference(np.array(np.nan, np.float32), np.array(np.nan, np.float32)) == 0


def _scaled(factor: float) -> ir.Model:
    return model(SCALED.format(), factor=np.array([factor], np.float32))


def test_what_is_infinite_where_the_reference_is_silent_is_wholly_wrong() -> None:
    reference = ReferenceOutputs(_scaled(0.0), [{"x": np.ones((1, 4), np.float32)}], SessionConfig())
    assert reference.merge_parts(reference.errors(_scaled(math.inf))) == {"y": math.inf}


@pytest.mark.parametrize("factor", [1.0, 1.5, 0.0, -1.0])
def test_errors_are_shares_of_the_references_energy_over_all_samples(factor: float) -> None:
    feeds = [{"x": x[None]} for x in np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)]
    reference = ReferenceOutputs(_scaled(1.0), feeds, SessionConfig())
    assert reference.errors(_scaled(factor)) == {"y": pytest.approx((1 - factor) ** 2, rel=1e-6)}


def test_of_large_outputs_a_part_is_kept_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = [{"x": x[None]} for x in np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)]
    everything = ReferenceOutputs(_scaled(1.0), feeds, SessionConfig())
    monkeypatch.setattr(output_error, "MAX_REFERENCE_BYTES", 50 * 4 * 4 // 2)
    part = ReferenceOutputs(_scaled(1.0), feeds, SessionConfig())
    kept = sum(values.values.size for sample in part._reference for values in sample.values())
    assert kept <= 50 * 4 / 2 < sum(values.values.size for sample in everything._reference for values in sample.values())
    assert part.errors(_scaled(1.5)) == {"y": pytest.approx(0.25, rel=1e-6)}


def test_an_output_of_another_shape_is_wholly_wrong() -> None:
    feeds = [{"x": np.array([[-1, 2, 0, 3]], np.float32)}, {"x": np.array([[1, 2, 3, 4]], np.float32)}]
    text = "g (float[1,4] x) => (int64[2,n] y0, float[2,n] y) {{ y0 = NonZero ({0})\n y = CastLike (y0, x) }}"
    reference = ReferenceOutputs(model(text.format("x")), feeds, SessionConfig())
    candidate = "g (float[1,4] x) => (float[2,n] y) { r = Relu (x)\n i = NonZero (r)\n y = CastLike (i, x) }"
    first, second = (0 + 1 + 9), (0 + 1 + 4 + 9)  # squared indices of what is not zero in each sample
    assert reference.errors(model(candidate)) == {"y": pytest.approx(first / (first + second))}
