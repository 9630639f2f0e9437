"""Folders of sounds (``.wav``): features are made of them as the ``preprocessor_config.json`` beside the model says."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.array_files import check_regular_file
from onnxslim.data.columns import Array, Column
from onnxslim.data.preprocessing.speech_config import read_speech_config
from onnxslim.data.preprocessing.speech_features import SpeechFeatures
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.data.readers import labeled_folder

SUFFIXES = (".wav",)
#: Samples a second; what a broken header says beyond would make gigabytes of a second.
MIN_RATE, MAX_RATE = 1_000, 1_000_000
#: What exports call the input that tells samples from padding.
MASK_INPUT = "attention_mask"


def accepts(source: Any) -> bool:
    """A folder with a ``.wav`` in it or below it."""
    return isinstance(source, (str, os.PathLike)) and labeled_folder.has_files(Path(source), SUFFIXES)


def read(request: ReaderRequest) -> ReaderResult:
    """One sample per file; labels from the sub-folders or a csv.

    Raises:
        UsageError: Nothing says how sounds become inputs.
        InvalidDataError: A file that is no sound; the labels do not fit.
        UnsupportedError: A feature extractor that is not made here.
    """
    path = Path(request.source)
    if request.input_configs is None:
        raise UsageError(
            f"{path} is a folder of sounds: nothing says how they become inputs",
            hint="give the model's folder, or --preprocess FOLDER with its preprocessor_config.json",
        )
    listing = labeled_folder.list_files(
        path, SUFFIXES, labeled_folder.resolve_labels_file(request.labels), request.input_configs
    )
    mask = next((i for i in request.inputs if i.name == MASK_INPUT), None)
    model_input = replace(request, inputs=[i for i in request.inputs if i is not mask]).only_input
    features = read_speech_config(Path(request.input_configs))
    columns: dict[str, Column | Array] = {model_input.name: SoundColumn(listing.files, features)}
    if mask is not None:
        columns[MASK_INPUT] = SoundColumn(listing.files, features, of_mask=True)
    return labeled_folder.build_reader_result(listing, request, columns)


class SoundColumn(labeled_folder.PerFileColumn):
    """Features of sounds, one file a row, made when they are read; ``of_mask`` gives ones, as many as there are steps."""

    def __init__(self, files: Sequence[Path], features: SpeechFeatures, *, of_mask: bool = False) -> None:
        super().__init__(files)
        self._features, self._of_mask = features, of_mask
        self.dtype = np.dtype(np.int64 if of_mask else np.float32)

    @cached_property
    def shapes(self) -> dict[tuple[int, ...], int]:
        """Every shape that the features of a file have."""
        shapes: dict[tuple[int, ...], int] = {}
        for row, file in enumerate(self._files):
            samples, rate = _open_sound(file)
            shapes.setdefault(self._get_shape(_count_resampled(len(samples), rate, self._features.sampling_rate)), row)
        return shapes

    def _make(self, file: Path) -> Array:
        waveform = read_sound(file, self._features.sampling_rate)
        return np.ones(self._get_shape(len(waveform)), np.int64) if self._of_mask else self._features.apply(waveform)

    def _get_shape(self, count: int) -> tuple[int, ...]:
        shape = self._features.shape(count)
        return shape[-1:] if self._of_mask else shape


def read_sound(file: Path, sampling_rate: int) -> Array:
    """The sound in ``file`` as float32 (samples,) in -1…1 at ``sampling_rate``, its channels averaged.

    Raises:
        InvalidDataError: No sound, or an empty one.
    """
    from scipy.signal import resample_poly  # a second to import, which who reads no sounds need not wait for

    samples, rate = _open_sound(file)
    kind = samples.dtype
    scaled = np.asarray(samples, np.float64)
    if kind.kind in "iu":
        scaled = (scaled - 128) / 128 if kind == np.uint8 else scaled / -float(np.iinfo(kind).min)
    mono = scaled.mean(axis=1) if scaled.ndim == 2 else scaled
    if rate != sampling_rate:
        common = math.gcd(rate, sampling_rate)
        mono = resample_poly(mono, sampling_rate // common, rate // common)
    if not np.isfinite(mono).all():
        raise InvalidDataError(f"{file}: holds values that are not finite")
    return mono.astype(np.float32)


def _open_sound(file: Path) -> tuple[Array, int]:
    from scipy.io import wavfile

    check_regular_file(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks that are no sound
            rate, samples = wavfile.read(file)
    except Exception as error:  # whatever a broken header makes of the reader
        raise InvalidDataError(f"{file} is not a wav file that can be read: {error}") from error
    if not len(samples):
        raise InvalidDataError(f"{file} holds no sound")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidDataError(f"{file}: {rate} samples a second, expected {MIN_RATE} to {MAX_RATE}")
    return samples, int(rate)


def _count_resampled(count: int, rate: int, sampling_rate: int) -> int:
    common = math.gcd(rate, sampling_rate)
    return -(-count * (sampling_rate // common) // (rate // common))
