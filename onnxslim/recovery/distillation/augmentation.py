"""Augmentations of a batch that keep it a plausible input: distillation runs the teacher on the augmented one.

Arrays in, arrays out; every draw comes from the generator given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: Widest move of an image, as a share of its height and width.
_MAX_SHIFT_SHARE = 1 / 8
#: Standard deviation of the noise, as a share of the batch's own.
_NOISE_SHARE = 0.05


def is_image(shape: Sequence[int]) -> bool:
    """Whether a batch of this shape holds images, channels first (n, 1 | 3 | 4, h, w) or last."""
    if len(shape) != 4:
        return False
    first = shape[1] in (1, 3, 4) and min(shape[2:]) >= 8
    return first or (shape[3] in (1, 3, 4) and min(shape[1:3]) >= 8)


def _find_spatial_axes(x: np.ndarray) -> tuple[int, int]:
    """The axes of height and width."""
    return (2, 3) if x.shape[1] in (1, 3, 4) and min(x.shape[2:]) >= 8 else (1, 2)


def flip(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the images mirrored left to right."""
    y = x.copy()
    chosen = rng.random(len(x)) < 0.5
    y[chosen] = np.flip(x[chosen], _find_spatial_axes(x)[1])
    return y


def crop(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every image moved by up to an eighth of its size; what comes in is its own mirror image."""
    rows, columns = _find_spatial_axes(x)
    max_shift = [max(1, int(x.shape[axis] * _MAX_SHIFT_SHARE)) for axis in (rows, columns)]
    widths = [(0, 0)] * x.ndim
    widths[rows], widths[columns] = (max_shift[0],) * 2, (max_shift[1],) * 2
    padded = np.pad(x, widths, mode="reflect")
    y = np.empty_like(x)
    shifts = rng.integers(0, [2 * max_shift[0] + 1, 2 * max_shift[1] + 1], (len(x), 2))
    for i, (down, right) in enumerate(shifts):
        image = np.take(padded[i], np.arange(down, down + x.shape[rows]), axis=rows - 1)
        y[i] = np.take(image, np.arange(right, right + x.shape[columns]), axis=columns - 1)
    return y


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A little Gaussian noise."""
    changed: np.ndarray = x + rng.standard_normal(x.shape) * (x.std() * _NOISE_SHARE)
    return changed.astype(x.dtype)


def mixup(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every input blended with another (Zhang et al. 2018, arXiv:1710.09412); the teacher says what the blend is."""
    share = rng.beta(0.4, 0.4, (len(x), *[1] * (x.ndim - 1)))
    blend: np.ndarray = share * x + (1 - share) * x[rng.permutation(len(x))]
    return blend.astype(x.dtype)


AUGMENTATION_FUNCTIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "flip": flip,
    "crop": crop,
    "noise": noise,
    "mixup": mixup,
}


def augment(feeds: dict[str, np.ndarray], names: Sequence[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The batch with its images changed in the ways named, in the order of :data:`AUGMENTATION_FUNCTIONS`."""
    augmented = dict(feeds)
    for name, array in feeds.items():
        if array.dtype.kind == "f" and is_image(array.shape):
            for augmentation, function in AUGMENTATION_FUNCTIONS.items():
                if augmentation in names:
                    array = function(array, rng)
            augmented[name] = array
    return augmented
