"""The error of images against PSNR as it is defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.images import ImageErrorMetric, count_outside, find_pixel_range
from tests.support.metric_values import judge, lost_points

RNG = np.random.default_rng(0)


@given(st.sampled_from([1.0, 255.0]), st.floats(20, 60))
def test_it_is_psnr_of_the_whole_set(peak: float, decibels: float) -> None:
    rng = np.random.default_rng(int(decibels * 1000))
    a = peak * (0.3 + 0.4 * rng.random((6, 3, 16, 16)))
    b = a + peak * 10 ** (-decibels / 20) * rng.choice([-1.0, 1.0], a.shape)
    result = judge("psnr", b, a)
    assert result.drop == pytest.approx(10 ** (-decibels / 20), rel=1e-6)
    assert result.note == f"PSNR {decibels:.1f} dB, peak {peak:.4g}"
    assert (100 * (result.scaled_drop or 0) <= 1) == (decibels >= 35)


@pytest.mark.parametrize(
    ("seen", "pixels"),
    [
        ((0.01, 0.8), (0.0, 1.0)),
        ((-0.04, 1.04), (0.0, 1.0)),
        ((-0.9, 0.95), (-1.0, 1.0)),
        ((3.0, 250.0), (0.0, 255.0)),
        ((0.0, 40.0), (0.0, 255.0)),
        ((-40.0, 700.0), (-40.0, 700.0)),
        ((-0.5, 4.0), (-0.5, 4.0)),
        ((0.0, 0.01), (0.0, 0.01)),
    ],
)
def test_the_range_is_the_least_customary_one_that_fits(seen: tuple[float, float], pixels: tuple[float, float]) -> None:
    values = np.linspace(*seen, 1000)
    assert find_pixel_range(*seen, count_outside(values) / 1000) == pixels


def test_an_overshoot_at_an_edge_does_not_change_the_range() -> None:
    a = RNG.random((2, 1, 40, 40))
    a[0, 0, 0, :8] = [-0.4, 1.6, 1.5, -0.3, 1.4, 1.3, 1.3, -0.2]
    assert judge("psnr", a + 0.01, a).note.endswith("peak 1")


def test_what_lies_outside_the_range_is_not_shown() -> None:
    a = np.clip(RNG.normal(0.5, 0.5, (4, 1, 8, 8)), 0, 1)
    b = np.where(a == 1, 1.2, np.where(a == 0, -0.2, a))
    assert judge("psnr", b, a).drop == 0


def test_an_image_of_another_shape_or_without_numbers_is_wholly_wrong() -> None:
    a = RNG.random((2, 1, 8, 8))
    assert lost_points("psnr", a[..., :4], a) > 50
    assert lost_points("psnr", np.full_like(a, np.nan), a) > 50
    with pytest.raises(UsageError, match="expected images"):
        ImageErrorMetric().add(np.ones((2, 3)), np.ones((2, 3)), None, 2)
