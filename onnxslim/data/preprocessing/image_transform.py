"""From an image file to the array a vision model takes, spelled in one line.

``resize=256 crop=224 scale=255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 layout=nchw color=rgb
interpolation=bilinear``: resize, crop the centre, divide by scale, subtract the mean, divide by std. Sizes and
rounding are torchvision's ``Resize`` and ``CenterCrop`` on a Pillow image, antialiased as Pillow does; like
torchvision's reader, this one leaves EXIF orientation alone. A crop larger than the image is an error: nothing is
padded in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from onnxslim.core.errors import UsageError
from onnxslim.data.columns import Array

#: A length for the shorter side, or (height, width).
ResizeSize = int | tuple[int, int]

_PILLOW_MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}
_PILLOW_FILTERS = {name.lower(): filter_ for name, filter_ in Image.Resampling.__members__.items()}
_DEEP_MODES = ("I", "F")


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes an array.

    Attributes:
        resize: A length for the shorter side (the aspect is kept), or (height, width); None leaves the size.
        crop: (height, width) cut from the centre, or None.
        scale: What pixels 0…255 are divided by.
        mean: Subtracted after that: one number, or one per channel in the order of ``color``.
        std: Divided by last, like ``mean``.
        layout: ``nchw`` or ``nhwc``.
        color: ``rgb``, ``bgr`` or ``gray``.
        interpolation: One of Pillow's filters by name.
        raw: Leave the pixels as uint8: what a model with an integer input takes.
        longest: What the longer side is at most where ``resize`` is a length; the shorter one gives way. None for any.
    """

    resize: ResizeSize | None = None
    crop: tuple[int, int] | None = None
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"
    color: str = "rgb"
    interpolation: str = "bilinear"
    raw: bool = False
    longest: int | None = None

    @property
    def channels(self) -> int:
        """3, or 1 for gray."""
        return 1 if self.color == "gray" else 3

    def as_raw_pixels(self) -> Preprocess:
        """The same, with the pixels left as they are, for a model that takes integers.

        Raises:
            UsageError: It says how to normalise, which such a model does itself.
        """
        if (self.scale, self.mean, self.std) != (255.0, (0.0,), (1.0,)):
            raise UsageError("--preprocess: scale, mean and std make no sense for a model that takes integer pixels")
        return replace(self, raw=True)

    def shape(self, width: int, height: int) -> tuple[int, ...]:
        """The shape of the array an image of this size becomes.

        Raises:
            ValueError: The image is smaller than the crop.
        """
        height, width = self._resized_size(width, height)
        if self.crop is not None:
            if height < self.crop[0] or width < self.crop[1]:
                raise ValueError(f"{width}x{height} pixels are too few for a crop of {self.crop[1]}x{self.crop[0]}")
            height, width = self.crop
        return (self.channels, height, width) if self.layout == "nchw" else (height, width, self.channels)

    def apply(self, image: Image.Image) -> Array:
        """``image`` as an array of :meth:`shape`, float32 or, when ``raw``, uint8.

        Raises:
            ValueError: The image is smaller than the crop, or has more than 8 bits a channel.
        """
        if image.mode.split(";")[0] in _DEEP_MODES:
            raise ValueError(f"mode {image.mode} has more than 8 bits a channel; Pillow would clip it")
        image = image.convert(_PILLOW_MODES[self.color])
        size = self._resized_size(*image.size)
        if size != (image.height, image.width):
            image = image.resize((size[1], size[0]), _PILLOW_FILTERS[self.interpolation])
        if self.crop is not None:
            self.shape(*image.size)
            top, left = (round((full - part) / 2) for full, part in zip(size, self.crop, strict=True))
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        array: Array = np.asarray(image).reshape(image.height, image.width, self.channels)
        if self.color == "bgr":
            array = array[..., ::-1]
        if not self.raw:
            mean, std = (np.array(numbers, np.float32) for numbers in (self.mean, self.std))
            array = (array.astype(np.float32) / np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(array.transpose(2, 0, 1) if self.layout == "nchw" else array)

    def _resized_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) after the resize."""
        if self.resize is None:
            return height, width
        if isinstance(self.resize, tuple):
            return self.resize
        short, long = sorted((width, height))
        length: float = self.resize
        if self.longest is not None and self.resize * long / short > self.longest:
            length = self.longest * short / long
        sides = (round(length), int(length * long / short))
        if sides[0] == short:
            return height, width
        return (sides[1], sides[0]) if width <= height else sides


def parse_spec(spec: str) -> Preprocess:
    """A :class:`Preprocess` from ``key=value`` words.

    Raises:
        UsageError: An unknown key (the message lists the known ones), or a value that is not what the key takes.
    """
    values: dict[str, Any] = {}
    for word in spec.split():
        key, equals, text = word.partition("=")
        if key not in _KEY_PARSERS or not equals:
            raise UsageError(f"--preprocess: unknown '{word}', expected KEY=VALUE with {', '.join(_KEY_PARSERS)}")
        if key in values:
            raise UsageError(f"--preprocess: {key} is given twice")
        parser, expected = _KEY_PARSERS[key]
        try:
            values[key] = parser(text)
        except (ValueError, KeyError) as error:
            raise UsageError(f"--preprocess: {key}={text}, expected {expected}") from error
    return check_channels(Preprocess(**values))


def check_channels(preprocess: Preprocess) -> Preprocess:
    """``preprocess``, if mean and std have one number or one per channel."""
    for key, numbers in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(numbers) not in (1, preprocess.channels):
            raise UsageError(f"--preprocess: {key} has {len(numbers)} numbers, expected 1 or {preprocess.channels}")
    return preprocess


def _parse_positive(text: str) -> float:
    value = _parse_numbers(text)
    if len(value) != 1 or value[0] <= 0:
        raise ValueError
    return value[0]


def _parse_numbers(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if not np.isfinite(values).all():
        raise ValueError
    return values


def _parse_nonzero(text: str) -> tuple[float, ...]:
    values = _parse_numbers(text)
    if 0 in values:
        raise ValueError
    return values


def _parse_sides(text: str) -> tuple[int, ...]:
    sides = tuple(int(part) for part in text.split("x"))
    if not 1 <= len(sides) <= 2 or min(sides) < 1:
        raise ValueError
    return sides


def _parse_resize(text: str) -> ResizeSize:
    sides = _parse_sides(text)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _parse_crop(text: str) -> tuple[int, int]:
    sides = _parse_sides(text)
    return sides[0], sides[-1]


def _choice_parser(*names: str) -> tuple[Callable[[str], str], str]:
    return {name: name for name in names}.__getitem__, " or ".join(names)


#: What each key takes: how it is read, and what to say when it cannot be.
_KEY_PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "resize": (_parse_resize, "a length for the shorter side, or HEIGHTxWIDTH"),
    "crop": (_parse_crop, "a length, or HEIGHTxWIDTH"),
    "scale": (_parse_positive, "a number above 0"),
    "mean": (_parse_numbers, "numbers separated by commas"),
    "std": (_parse_nonzero, "numbers other than 0 separated by commas"),
    "layout": _choice_parser("nchw", "nhwc"),
    "color": _choice_parser(*_PILLOW_MODES),
    "interpolation": _choice_parser(*_PILLOW_FILTERS),
}
