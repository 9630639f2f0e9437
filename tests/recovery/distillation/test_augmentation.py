"""Augmented images keep shape, type and range."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.recovery.distillation import augmentation


@pytest.mark.parametrize("change", augmentation.AUGMENTATION_FUNCTIONS)
@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (5, 16, 16, 1), (5, 1, 8, 8)])
def test_a_changed_image_keeps_shape_type_and_range_and_is_drawn_from_the_generator(
    change: str, shape: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    function = augmentation.AUGMENTATION_FUNCTIONS[change]
    y = function(x, np.random.default_rng(1))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert not np.array_equal(x, y)
    np.testing.assert_array_equal(y, function(x, np.random.default_rng(1)))
    if change != "noise":
        assert y.min() >= x.min() - 1e-6
        assert y.max() <= x.max() + 1e-6


def test_flipping_mirrors_left_and_right_whichever_axis_holds_the_channels() -> None:
    rows = np.broadcast_to(np.arange(8, dtype=np.float32), (64, 1, 8, 8))
    first = augmentation.flip(rows, np.random.default_rng(0))
    assert {tuple(image[0, 0]) for image in first} == {tuple(range(8)), tuple(range(7, -1, -1))}
    last = augmentation.flip(np.moveaxis(rows, 1, 3), np.random.default_rng(0))
    np.testing.assert_array_equal(np.moveaxis(last, 3, 1), first)


def test_only_images_are_changed() -> None:
    feeds = {
        "image": np.random.default_rng(0).random((4, 3, 16, 16)).astype(np.float32),
        "row": np.ones((4, 9)),
    }
    changed = augmentation.augment(feeds, ["flip", "noise"], np.random.default_rng(0))
    assert not np.array_equal(changed["image"], feeds["image"])
    assert changed["row"] is feeds["row"]
