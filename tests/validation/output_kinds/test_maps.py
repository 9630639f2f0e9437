"""Masks, score maps and images."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.observed import IMAGE, recognize_one, softmax

RNG = np.random.default_rng(0)
REGIONS = (np.add.outer(np.arange(32), np.arange(32))[None] + RNG.integers(0, 30, (8, 1, 1))) // 20 % 3


def smooth_images(n: int, channels: int, size: int) -> np.ndarray:
    """Values from 0 to 1 that change slowly."""
    x = np.linspace(0, 3, size)
    waves = np.sin(x[:, None] + x + RNG.uniform(0, 6, (n, channels, 1, 1)))
    return ((waves + 1) / 2).astype(np.float32)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("as_logits", [False, True])
def test_classes_of_every_pixel_are_score_maps_in_either_layout(layout: str, as_logits: bool) -> None:
    logits = 8.0 * (np.eye(3)[REGIONS] - 1 / 3) + 0.2 * RNG.normal(size=(8, 32, 32, 3))
    rows = logits if as_logits else softmax(logits)
    kind = recognize_one(rows if layout == "nhwc" else rows.transpose(0, 3, 1, 2), op="Conv", inputs=IMAGE)
    assert (kind.name, kind.gates) == ("score maps", ("iou",))
    assert kind.channels_last == (layout == "nhwc")
    assert kind.arrange(rows if layout == "nhwc" else rows.transpose(0, 3, 1, 2)).shape == (8, 3, 32, 32)


def test_one_map_of_probabilities_is_a_mask_and_one_of_zeros_proves_nothing() -> None:
    mask = np.where(REGIONS == 1, 0.98, 0.01)[:, None]
    kind = recognize_one(mask, op="Sigmoid", inputs=IMAGE)
    assert (kind.name, kind.gates) == ("masks", ("iou",))
    assert recognize_one(np.zeros_like(mask), op="Sigmoid", inputs=IMAGE).name != "masks"


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pixels_in_the_shape_of_an_image_that_goes_in_are_an_image(scale: int) -> None:
    kind = recognize_one(smooth_images(8, 3, 64 * scale), op="Conv", inputs=IMAGE)
    assert (kind.name, kind.gates) == ("images", ("psnr",))
    assert recognize_one(255 * smooth_images(8, 3, 64 * scale), op="Clip", inputs=IMAGE).name == "images"
    assert recognize_one(40 * smooth_images(8, 3, 70 * scale), op="Conv", inputs=IMAGE).name == "numbers"


def test_maps_of_many_channels_that_score_nothing_are_numbers() -> None:
    assert recognize_one(RNG.normal(size=(8, 48, 8, 8)), op="Relu", inputs=IMAGE).name == "numbers"
