"""Inputs of their kind for the zoo's unlabelled models: on noise, what a detector or a classifier says means nothing.

    python benchmarks/inputs.py FOLDER [MODEL...]     # writes FOLDER/MODEL.npz, arrays by input name

Rendered lines of text for the text detector, photographs for the nude detector, melodies of plucked harmonics for music
transcription, the source files of the installed Python for the file classifier, and vowels, fricatives and pauses from a
source-filter model for the voice detector, whose state is what the model itself returned one chunk before. All seeded;
calibration and evaluation are different draws. The photographs are the zoo's ($ONNXSLIM_ZOO).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.signal import lfilter

from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session

ZOO = Path(os.environ.get("ONNXSLIM_ZOO", Path(__file__).resolve().parents[2] / "shared" / "zoo"))
IMAGENET_MEAN, IMAGENET_STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

Arrays = dict[str, np.ndarray]


def load_zoo() -> ModuleType:
    """The zoo's reader."""
    spec = importlib.util.spec_from_file_location("zoo_load", ZOO / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_images(count: int, seed: int, size: int = 320) -> Arrays:
    """Pages of a few lines, words and sizes drawn at random, dark on light or the reverse: (n, 3, size, size)."""
    rng = np.random.default_rng(seed)
    words = [word.strip(".,:;()`'\"") for word in (__doc__ or "").split()]
    pages = []
    for _ in range(count):
        paper, ink = rng.integers(170, 256, 3), rng.integers(0, 90, 3)
        if rng.random() < 0.3:
            paper, ink = ink, paper
        page = Image.new("RGB", (size, size), tuple(int(c) for c in paper))
        draw, y = ImageDraw.Draw(page), int(rng.integers(4, 40))
        while y < size - 20:
            height = int(rng.integers(11, 36))
            line = " ".join(rng.choice(words, int(rng.integers(1, 7))))
            draw.text((int(rng.integers(2, 90)), y), line, tuple(int(c) for c in ink), ImageFont.load_default(height))
            y += int(height * rng.uniform(1.2, 3.0))
        noisy = np.asarray(page, np.float32) + rng.normal(0, rng.uniform(0, 8), (size, size, 3))
        pages.append(((np.clip(noisy, 0, 255) / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1))
    return {"x": np.stack(pages).astype(np.float32)}


def photographs(count: int, seed: int, size: int = 320) -> Arrays:
    """Photographs of the zoo's ImageNet sets, resized: (n, 3, size, size) in 0 … 1."""
    pictures, _ = load_zoo().images("imagenet_calib" if seed == 0 else "imagenet_eval", 0, count)
    resized = [np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR)) for p in pictures]
    return {"images": np.ascontiguousarray(np.stack(resized).transpose(0, 3, 1, 2), np.float32) / np.float32(255)}


def melodies(count: int, seed: int, length: int = 43844, rate: int = 22050) -> Arrays:
    """Two seconds of decaying harmonic notes, one to three at a time, with a little noise: (n, length, 1)."""
    rng = np.random.default_rng(seed)
    clips = []
    for _ in range(count):
        clip, start = np.zeros(length), 0
        while start < length:
            duration = int(rate * rng.choice([0.15, 0.25, 0.5, 1.0]))
            time = np.arange(min(duration, length - start)) / rate
            for note in rng.choice(np.arange(40, 85), int(rng.integers(1, 4)), replace=False):
                pitch, decay = 440.0 * 2 ** ((note - 69) / 12), rng.uniform(1.5, 6.0)
                for harmonic in range(1, 9):
                    if pitch * harmonic < rate / 2:
                        partial = np.sin(2 * np.pi * pitch * harmonic * time + rng.uniform(0, 6.28))
                        clip[start : start + len(time)] += partial * np.exp(-decay * harmonic**0.5 * time) / harmonic
            start += duration
        clip *= rng.uniform(0.1, 0.8) / max(np.abs(clip).max(), 1e-9)
        clips.append(clip + rng.normal(0, 10 ** rng.uniform(-4, -2.5), length))
    return {"serving_default_input_2:0": np.stack(clips)[:, :, None].astype(np.float32)}


def source_files(count: int, seed: int, end: int = 1024) -> Arrays:
    """The first and last kilobyte of files of the installed Python, of every suffix in turn: int32 (n, 2048), 256 pads."""
    rng = np.random.default_rng(seed)
    by_suffix: dict[str, list[Path]] = {}
    for root in {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("include")}:
        for path in sorted(Path(root).rglob("*.*")):
            if path.is_file() and 64 < path.stat().st_size < 1 << 20:
                by_suffix.setdefault(path.suffix, []).append(path)
    # files of even index calibrate and those of odd index judge, so that no file does both
    pools = [pool for paths in by_suffix.values() if len(pool := paths[seed % 2 :: 2]) > 2]
    rows = np.full((count, 2 * end), 256, np.int32)
    for index in range(count):
        pool = pools[index % len(pools)]
        content = pool[int(rng.integers(len(pool)))].read_bytes()
        first, last = content[:4096].lstrip()[:end], content[-4096:].rstrip()[-end:]
        rows[index, : len(first)] = np.frombuffer(first, np.uint8)
        rows[index, 2 * end - len(last) :] = np.frombuffer(last, np.uint8)
    return {"bytes": rows}


def speech(count: int, seed: int, chunk: int = 512, context: int = 64, rate: int = 16000) -> Arrays:
    """Chunks of synthesised speech with the samples before them, and the state the model had reached: (n, 576)."""
    rng = np.random.default_rng(seed)
    every = 4  # neighbouring chunks say the same; every fourth is kept
    wave = _speech(rng, (count * every + 2) * chunk, rate)
    session = Session(model_file.load(ZOO / "silero_vad_16k_op15.onnx"))
    state, rows, states = np.zeros((2, 1, 128), np.float32), [], []
    sr = np.array(rate, np.int64)
    for index in range(1, count * every + 1):
        row = wave[index * chunk - context : (index + 1) * chunk][None].astype(np.float32)
        if index % every == 0:
            rows.append(row[0])
            states.append(state[:, 0])
        state = session.run({"input": row, "state": state, "sr": sr})["stateN"]
    return {"input": np.stack(rows), "state": np.stack(states), "sr": np.full(count, rate, np.int64)}


#: First three formants of five vowels, in Hz (Peterson and Barney, 1952, men).
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))


def _speech(rng: np.random.Generator, length: int, rate: int) -> np.ndarray:
    pieces, total = [], 0
    while total < length:
        samples = int(rate * rng.uniform(0.06, 0.3))
        kind = rng.random()
        if kind < 0.25:  # a pause
            piece = np.zeros(samples)
        elif kind < 0.4:  # a fricative
            piece = 0.1 * lfilter([1, -0.95], [1], rng.normal(size=samples))
        else:  # a vowel: pulses of a gliding pitch through three resonances
            pitch = np.linspace(rng.uniform(90, 220), rng.uniform(90, 220), samples)
            phase = np.cumsum(pitch / rate)
            piece = lfilter([1], [1, -0.97], np.diff(np.floor(phase), prepend=0.0) - pitch.mean() / rate)
            for formant in _VOWELS[int(rng.integers(len(_VOWELS)))]:
                radius, angle = np.exp(-np.pi * 90 / rate), 2 * np.pi * formant * rng.uniform(0.93, 1.07) / rate
                piece = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], piece)
            piece *= 0.5 / max(np.abs(piece).max(), 1e-9)
        ramp = np.minimum(1, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (0.01 * rate))
        pieces.append(piece * ramp * rng.uniform(0.3, 1.0))
        total += samples
    return np.concatenate(pieces)[:length] + rng.normal(0, 1e-3, length)


#: Zoo model → what makes its inputs, from a count and a seed (0 calibrates, 1 judges).
MAKERS: dict[str, Callable[[int, int], Arrays]] = {
    "ppocrv5_det": text_images,
    "nudenet_320n_yolov8": photographs,
    "basic_pitch_nmp": melodies,
    "magika_standard_v3_3": source_files,
    "silero_vad_16k_op15": speech,
}


def main() -> None:
    """Write calibration and evaluation inputs of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", default=list(MAKERS), metavar="MODEL", help=", ".join(MAKERS))
    parser.add_argument("--count", type=int, default=128)
    arguments = parser.parse_args()
    for name in arguments.models:
        for use, seed in (("calib", 0), ("eval", 1)):
            path = arguments.folder / f"{name}.{use}.npz"
            np.savez(path, **MAKERS[name](arguments.count, seed))
            print(path)


if __name__ == "__main__":
    main()
