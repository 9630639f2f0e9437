"""Image folders: files that Pillow opens, preprocessed as ``--preprocess`` says."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from onnxslim.data import folders, huggingface, preprocess
from onnxslim.data.arrayfiles import regular
from onnxslim.data.columns import Array, Indices, Rows, stacked
from onnxslim.data.preprocess import Preprocess
from onnxslim.data.request import Found, Request
from onnxslim.errors import InvalidDataError, LimitError, UsageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def accepts(source: Any) -> bool:
    """A folder with an image in it or below it, or a csv of files."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    path = Path(source)
    if path.is_dir():
        return folders.holds(path, SUFFIXES)
    return path.suffix.lower() == ".csv" and path.is_file() and "file" in folders.header(path)


def read(request: Request) -> Found:
    """One sample per image; labels from the sub-folders or a csv.

    Raises:
        UsageError: No ``--preprocess``: how a model wants its images cannot be guessed.
        InvalidDataError: A file that is no image, or too small for the crop; the labels do not fit.
    """
    path = Path(request.source)
    table = folders.labels_file(request.labels) or (path if path.is_file() else None)
    found = folders.listing(path.parent if path.is_file() else path, SUFFIXES, table)
    wanted = request.single
    if request.preprocess is None:
        raise UsageError(
            f"{path} is a folder of images: --preprocess must say how they become '{wanted.name}' {wanted}",
            hint='e.g. --preprocess "resize=256 crop=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"',
        )
    steps = spec(request.preprocess)
    column = ImageColumn(found.files, steps if wanted.family == "floats" else steps.pixels())
    return folders.answer(found, request, {wanted.name: column})


def spec(text: str) -> Preprocess:
    """How images become arrays, from ``key=value`` words or the path of a Hugging Face ``preprocessor_config.json``."""
    return huggingface.read(Path(text)) if text.strip().endswith(".json") else preprocess.parse(text)


class ImageColumn:
    """Images, decoded when they are read.

    Args:
        files: One per row.
        steps: What makes an array of each.
    """

    def __init__(self, files: Sequence[Path], steps: Preprocess) -> None:
        self._files = files
        self._steps = steps
        self.dtype = np.dtype(np.uint8 if steps.raw else np.float32)

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def shapes(self) -> dict[tuple[int, ...], int]:
        """Every shape an image ends up with, from the sizes in the files' headers; nothing is decoded."""
        shapes: dict[tuple[int, ...], int] = {}
        for row, file in enumerate(self._files):
            with opened(file) as image:
                shapes.setdefault(self._steps.shape(*image.size), row)
        return shapes

    def read(self, chunks: Sequence[Indices]) -> Iterator[Rows]:
        """The images of each chunk as arrays."""
        for chunk in chunks:
            yield stacked([self._decode(self._files[row]) for row in chunk])

    def _decode(self, file: Path) -> Array:
        with opened(file) as image:
            return self._steps.apply(image)


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """An image file; whatever goes wrong with it names the file.

    Raises:
        InvalidDataError: No image, a broken one, or one the preprocessing cannot take.
        LimitError: More pixels than Pillow's ``MAX_IMAGE_PIXELS``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a broken file, which raises when it matters
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(regular(file)) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise LimitError(
            f"{file}: {error}", hint="raise PIL.Image.MAX_IMAGE_PIXELS if the image is meant"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidDataError(f"{file} is not an image Pillow can read") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidDataError(f"{file}: {error}") from error
