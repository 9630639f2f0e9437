"""From a waveform to what a speech model takes: log-mel spectrograms and normalized samples, in numpy.

Log-mel as in Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022): a periodic Hann
window over frames centered on reflected edges, power, mel filters of area one on Slaney's scale (Auditory Toolbox, 1998),
log10 bounded to 8 below the maximum, brought to about -1…1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxslim.data.columns import Array

#: Slaney's scale: linear to 1 kHz at 3 mels for 200 Hz, then 27 mels for a factor of 6.4.
_LINEAR_HZ, _LINEAR_MELS, _LOG_STEP = 1000.0, 15.0, math.log(6.4) / 27.0
_POWER_FLOOR, _DYNAMIC_RANGE = 1e-10, 8.0


class SpeechFeatures(Protocol):
    """What a feature extractor makes of a waveform."""

    @property
    def sampling_rate(self) -> int:
        """Samples a second that it takes."""
        ...

    def shape(self, count: int) -> tuple[int, ...]:
        """The shape of what it makes of ``count`` samples."""
        ...

    def apply(self, waveform: Array) -> Array:
        """``waveform``, float32 (samples,) in -1…1, as float32 of :meth:`shape`."""
        ...


@dataclass(frozen=True)
class LogMel:
    """Whisper's log-mel spectrogram of ``seconds`` (mels, frames): silence follows shorter sounds, longer ones are cut."""

    sampling_rate: int = 16000
    mels: int = 80
    fft: int = 400
    hop: int = 160
    seconds: float = 30

    @property
    def _count(self) -> int:
        return int(self.seconds * self.sampling_rate)

    def shape(self, count: int) -> tuple[int, ...]:
        """One frame a hop, whatever the sound's length."""
        return self.mels, self._count // self.hop

    def apply(self, waveform: Array) -> Array:
        """The spectrogram."""
        padded = np.zeros(self._count, np.float64)
        padded[: min(len(waveform), self._count)] = waveform[: self._count]
        edged = np.pad(padded, self.fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(edged, self.fft)[:: self.hop][:-1]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.fft) / self.fft)
        power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
        mel = np.log10(np.maximum(make_mel_filters(self.mels, self.fft, self.sampling_rate) @ power.T, _POWER_FLOOR))
        bounded: Array = (np.maximum(mel, mel.max() - _DYNAMIC_RANGE) + 4.0) / 4.0
        return bounded.astype(np.float32)


@dataclass(frozen=True)
class Waveform:
    """The samples themselves (samples,), with ``normalize`` of mean 0 and variance 1 as wav2vec 2.0 takes them."""

    sampling_rate: int = 16000
    normalize: bool = True

    def shape(self, count: int) -> tuple[int, ...]:
        """All samples."""
        return (count,)

    def apply(self, waveform: Array) -> Array:
        """The samples."""
        if not self.normalize:
            return waveform.astype(np.float32)
        normalized: Array = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return normalized.astype(np.float32)


def make_mel_filters(mels: int, fft: int, sampling_rate: int) -> Array:
    """Triangles of area one, float64 (mels, fft // 2 + 1), up to half the sampling rate."""
    edges = _to_hertz(np.linspace(0.0, _to_mels(sampling_rate / 2), mels + 2))
    frequencies = np.linspace(0.0, sampling_rate / 2, fft // 2 + 1)
    widths = np.diff(edges)
    rising = (frequencies[None] - edges[:-2, None]) / widths[:-1, None]
    falling = (edges[2:, None] - frequencies[None]) / widths[1:, None]
    filters: Array = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return filters


def _to_mels(hertz: float) -> float:
    linear = hertz * _LINEAR_MELS / _LINEAR_HZ
    return linear if hertz < _LINEAR_HZ else _LINEAR_MELS + math.log(hertz / _LINEAR_HZ) / _LOG_STEP


def _to_hertz(mels: Array) -> Array:
    linear = mels * _LINEAR_HZ / _LINEAR_MELS
    hertz: Array = np.where(mels < _LINEAR_MELS, linear, _LINEAR_HZ * np.exp(_LOG_STEP * (mels - _LINEAR_MELS)))
    return hertz
