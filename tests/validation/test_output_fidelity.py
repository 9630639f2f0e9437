"""SQNR, cosine and KL against their definitions, streamed or whole, with the values that break naive sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from onnxslim.activations.output_error import difference
from onnxslim.validation.output_fidelity import OutputFidelity

ARRAYS = hnp.arrays(np.float32, (8, 3), elements=st.floats(-100, 100, width=32))


def fidelity(a: np.ndarray, b: np.ndarray, size: int = 1000) -> OutputFidelity:
    found = OutputFidelity()
    for i in range(0, len(a), size):
        found.add(a[i : i + size], b[i : i + size])
    return found


@given(ARRAYS, ARRAYS, st.integers(1, 8))
def test_the_figures_are_their_definitions_however_they_are_batched(a: np.ndarray, b: np.ndarray, size: int) -> None:
    found = fidelity(a, b, size)
    x, y = a.astype(float).ravel(), b.astype(float).ravel()
    noise = ((x - y) ** 2).sum()
    if noise > 0 and (x**2).sum() > 0:
        assert found.sqnr_db == pytest.approx(10 * math.log10((x**2).sum() / noise), abs=1e-6)
    if x.any() and y.any():
        assert found.cosine == pytest.approx(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), abs=1e-9)


def test_kl_is_scipys_of_the_softmax() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 20, 5)).astype(np.float32)
    expected = stats.entropy(special.softmax(a, axis=1), special.softmax(b, axis=1), axis=1).mean()
    assert fidelity(a, b, 7).as_json()["kl"] == pytest.approx(expected, rel=1e-5)


def test_kl_takes_probabilities_as_they_are() -> None:
    a, b = special.softmax(np.random.default_rng(1).normal(size=(2, 20, 5)), axis=2).astype(np.float32)
    assert fidelity(a, b).as_json()["kl"] == pytest.approx(stats.entropy(a, b, axis=1).mean(), rel=1e-4)


def test_kl_of_a_probability_rounded_to_zero_is_finite() -> None:
    a, b = np.array([[1 - 1e-7, 1e-7]], np.float32), np.array([[1.0, 0.0]], np.float32)
    assert 0 <= fidelity(a, b).as_json()["kl"] < 1e-5


def test_equal_outputs_have_an_infinite_sqnr_which_json_says_as_null_and_equal() -> None:
    a = np.ones((2, 3), np.float32)
    found = fidelity(a, a)
    assert found.sqnr_db == math.inf
    entry = found.as_json()
    assert (entry["sqnr_db"], entry["equal"], entry["cosine"]) == (None, True, pytest.approx(1))


def test_masks_of_minus_infinity_and_of_the_lowest_float_do_not_break_the_sums() -> None:
    lowest = np.finfo(np.float32).min
    a = np.array([[1, -np.inf, lowest, np.nan]], np.float32)
    found = fidelity(a, a.copy())
    assert found.noise_energy == 0
    assert found.as_json()["equal"]
    assert not found.nonfinite_elements


def test_a_result_that_is_not_finite_where_the_original_is_says_so() -> None:
    found = fidelity(np.ones((1, 3), np.float32), np.array([[1, np.nan, np.inf]], np.float32))
    assert found.sqnr_db == -math.inf
    assert found.as_json()["not_finite"] == 2
    assert not found.as_json()["equal"]
    assert found.warnings("y") == ["output y holds 2 elements that are not finite where the original's are"]


def test_integers_are_compared_by_equality() -> None:
    entry = fidelity(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]])).as_json()
    assert (entry["agreement"], entry["sqnr_db"], entry["equal"]) == (0.75, None, False)


def test_outputs_of_another_shape_are_counted_not_compared() -> None:
    found = fidelity(np.ones((1, 3)), np.ones((1, 2)))
    found.add(np.ones((1, 3)), np.full((1, 3), 0.9))
    assert found.sqnr_db == pytest.approx(20)
    assert found.as_json()["unpaired"] == 1
    assert "another shape" in found.warnings("boxes")[0]


def test_half_precision_is_summed_in_double() -> None:
    a = np.full((4, 100), 304, np.float16)
    b = np.full((4, 100), 342, np.float16)  # the sum of 400 squares is far beyond half precision
    assert fidelity(a, b).sqnr_db == pytest.approx(20 * math.log10(8), abs=1e-6)


def test_a_difference_of_two_equal_infinities_is_none() -> None:
    a = np.array([np.inf, -np.inf, np.nan, 1.0])
    assert difference(a, a).tolist() == [0, 0, 0, 0]
    assert difference(a, -a)[0] == np.inf
