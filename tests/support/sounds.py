"""Sounds for tests: ``.wav`` files of tones with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import wavfile


def write_sounds(folder: Path, count: int = 12, *, rate: int = 16000, seconds: float = 0.5, seed: int = 0) -> Path:
    """``count`` mono files of 16 bits, each of another tone."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    for number in range(count):
        wave = 0.5 * np.sin(2 * np.pi * (200 + 150 * number) * time) + 0.02 * rng.standard_normal(len(time))
        wavfile.write(folder / f"{number:02}.wav", rate, np.int16(np.clip(wave, -1, 1) * 32767))
    return folder
