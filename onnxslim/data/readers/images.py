"""Image folders: files that Pillow opens, preprocessed as ``--preprocess`` says."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from onnxslim.core.errors import InvalidDataError, LimitError, UsageError
from onnxslim.data.array_files import check_regular_file
from onnxslim.data.columns import Array, Column
from onnxslim.data.preprocessing import huggingface, image_transform
from onnxslim.data.preprocessing.image_transform import Preprocess
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.data.readers import labeled_folder

#: What detectors call the input that tells pixels of the image from padding.
MASK_INPUT = "pixel_mask"
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def accepts(source: Any) -> bool:
    """A folder with an image in it or below it, or a csv of files."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    path = Path(source)
    if path.is_dir():
        return labeled_folder.has_files(path, SUFFIXES)
    return path.suffix.lower() == ".csv" and path.is_file() and "file" in labeled_folder.read_header(path)


def read(request: ReaderRequest) -> ReaderResult:
    """One sample per image; labels from the sub-folders or a csv.

    Raises:
        UsageError: No ``--preprocess``: how a model wants its images cannot be guessed.
        InvalidDataError: A file that is no image, or too small for the crop; the labels do not fit.
    """
    path = Path(request.source)
    table = labeled_folder.resolve_labels_file(request.labels) or (path if path.is_file() else None)
    listing = labeled_folder.list_files(path.parent if path.is_file() else path, SUFFIXES, table, request.input_configs)
    mask = next((i for i in request.inputs if i.name == MASK_INPUT), None)
    model_input = replace(request, inputs=[i for i in request.inputs if i is not mask]).only_input
    spec = request.preprocess or _find_config(request.input_configs)
    if spec is None:
        raise UsageError(
            f"{path} is a folder of images: --preprocess must say how they become '{model_input.name}' {model_input}",
            hint='e.g. --preprocess "resize=256 crop=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"',
        )
    preprocessing = load_preprocess(spec)
    if model_input.number_kind != "floats":
        preprocessing = preprocessing.as_raw_pixels()
    columns: dict[str, Column | Array] = {model_input.name: ImageColumn(listing.files, preprocessing)}
    if mask is not None:
        columns[MASK_INPUT] = MaskColumn(listing.files, preprocessing)
    return labeled_folder.build_reader_result(listing, request, columns)


def _find_config(folder: str | None) -> str | None:
    """The configuration in the model's folder, where there is one."""
    path = None if folder is None else Path(folder, huggingface.CONFIG_NAME)
    return str(path) if path is not None and path.is_file() else None


def load_preprocess(text: str) -> Preprocess:
    """How images become arrays, from ``key=value`` words or the path of a Hugging Face ``preprocessor_config.json``."""
    return huggingface.read_config(Path(text)) if text.strip().endswith(".json") else image_transform.parse_spec(text)


class ImageColumn(labeled_folder.PerFileColumn):
    """Images, one file a row, decoded when they are read."""

    def __init__(self, files: Sequence[Path], preprocessing: Preprocess) -> None:
        super().__init__(files)
        self._preprocessing = preprocessing
        self.dtype = np.dtype(np.uint8 if preprocessing.raw else np.float32)

    @cached_property
    def shapes(self) -> dict[tuple[int, ...], int]:
        """Every shape an image ends up with, from the sizes in the files' headers; nothing is decoded."""
        shapes: dict[tuple[int, ...], int] = {}
        for row, file in enumerate(self._files):
            with open_image(file) as image:
                shapes.setdefault(self._preprocessing.shape(*image.size), row)
        return shapes

    def _make(self, file: Path) -> Array:
        with open_image(file) as image:
            return self._preprocessing.apply(image)


class MaskColumn(ImageColumn):
    """Which pixels are of the image: all of them, because images of different sizes are run one by one and never padded."""

    def __init__(self, files: Sequence[Path], preprocessing: Preprocess) -> None:
        super().__init__(files, preprocessing)
        self.dtype = np.dtype(np.int64)

    @cached_property
    def shapes(self) -> dict[tuple[int, ...], int]:
        """The height and width of each image."""
        return {self._get_sides(shape): row for shape, row in super().shapes.items()}

    def _make(self, file: Path) -> Array:
        with open_image(file) as image:
            return np.ones(self._get_sides(self._preprocessing.shape(*image.size)), np.int64)

    def _get_sides(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[1:] if self._preprocessing.layout == "nchw" else shape[:2]


@contextmanager
def open_image(file: Path) -> Iterator[Image.Image]:
    """An image file; whatever goes wrong with it names the file.

    Raises:
        InvalidDataError: No image, a broken one, or one the preprocessing cannot take.
        LimitError: More pixels than Pillow's ``MAX_IMAGE_PIXELS``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a broken file, which raises when it matters
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(check_regular_file(file)) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise LimitError(f"{file}: {error}", hint="raise PIL.Image.MAX_IMAGE_PIXELS if the image is meant") from error
    except UnidentifiedImageError as error:
        raise InvalidDataError(f"{file} is not an image Pillow can read") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidDataError(f"{file}: {error}") from error
