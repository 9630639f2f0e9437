"""Range methods against plain references and against their own measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import UsageError
from onnxslim.quantization.calibration import range_methods
from onnxslim.quantization.calibration.range_methods import NUM_BINS, Histogram
from onnxslim.quantization.numerics import affine


def histogram(x: np.ndarray) -> Histogram:
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    counts, _ = np.histogram(x, NUM_BINS, (low, high if high > low else low + 1))
    return Histogram(low, high, counts.astype(np.int64), low, high)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_mse_is_no_worse_than_any_other_range_by_its_own_measure(seed: int) -> None:
    x = np.random.default_rng(seed).standard_t(2, 20_000)
    h = histogram(x)
    best = range_methods.expected_error(h, *range_methods.mse(h))
    for method in (range_methods.minmax, range_methods.percentile, range_methods.entropy):
        assert best <= range_methods.expected_error(h, *method(h)) * 1.01


def test_the_least_error_is_taken_for_each_tensor_from_whichever_method_has_it() -> None:
    rng = np.random.default_rng(0)
    taken = []
    for x in (rng.uniform(0, 1, 20_000), np.append(rng.normal(size=20_000), 1e3), rng.standard_t(3, 20_000)):
        h = histogram(x)
        name, ends = range_methods.choose_method(h)
        taken.append(name)
        tried = {key: range_methods.RANGE_METHODS[key](h) for key in ("mse", "percentile", "averaged", "minmax")}
        errors = {key: range_methods.expected_error(h, *ends) for key, ends in tried.items()}
        assert range_methods.expected_error(h, *ends) == min(errors.values()) == errors[name]
        assert range_methods.parse_method("least")(h) == ends
    assert taken[0] == "minmax"
    assert "mse" in taken


def test_the_expected_error_is_what_quantising_really_costs() -> None:
    x = np.random.default_rng(0).normal(size=200_000)
    h = histogram(x)
    for low, high in ((-4.0, 4.0), (-2.0, 2.5), (-1.0, 1.0)):
        encoding = affine.compute_activation_encoding(low, high)
        real = float(np.mean((encoding.dequantize(encoding.quantize(x)) - x) ** 2))
        assert range_methods.expected_error(h, low, high) == pytest.approx(real, rel=0.05)


def test_what_is_read_through_a_function_costs_what_the_functions_result_loses() -> None:
    x = np.random.default_rng(0).normal(-2.0, 4.0, 200_000)
    h = histogram(x)

    def swish(values: np.ndarray) -> np.ndarray:
        return values / (1 + np.exp(-values))

    h = replace(h, responses=swish(h.bin_centers))
    for low, high in ((h.low, h.high), (-6.0, 12.0), (-2.0, 8.0)):
        encoding = affine.compute_activation_encoding(low, high)
        real = float(np.mean((swish(encoding.dequantize(encoding.quantize(x))) - swish(x)) ** 2))
        assert range_methods.expected_error(h, low, high) == pytest.approx(real, rel=0.1)
    plain, aware = range_methods.mse(replace(h, responses=None)), range_methods.mse(h)
    assert aware[0] > plain[0] / 2  # hardly anything is left of what lies far below zero
    assert range_methods.expected_error(h, *aware) < range_methods.expected_error(h, *plain) / 2


def test_where_readers_stand_still_the_whole_range_is_kept() -> None:
    h = histogram(np.random.default_rng(0).uniform(-9.0, -4.0, 1000))
    assert range_methods.mse(replace(h, responses=np.maximum(h.bin_centers + 3.0, 0.0))) == (h.low, h.high)


def test_a_percentile_leaves_out_its_tail() -> None:
    x = np.concatenate([np.random.default_rng(0).uniform(0, 1, 100_000), [1000.0]])
    assert range_methods.parse_method("percentile:99.9")(histogram(x))[1] < 2.0


@pytest.mark.parametrize("text", ["percentil", "percentile:101", "percentile:3", "percentile:"])
def test_an_unknown_method_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="unknown"):
        range_methods.parse_method(text)
