"""CIFAR-10 for the papers' networks: the original images where they can be had, else the JPEG copy.

``load(root, part)`` looks into ``root`` for ``cifar10_{train,test}.npz``, a copy whose images are JPEG files of under
1 KB (accuracies published for the original do not carry over), and otherwise lets torchvision fetch the original there.
Which of the two it was is returned, for every figure to say.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

INPUT = "image"
SIDE = 32
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Part(NamedTuple):
    """One half of the data.

    Attributes:
        images: uint8 (n, 32, 32, 3).
        labels: int64 (n,).
        origin: What a figure taken on it must say.
    """

    images: np.ndarray
    labels: np.ndarray
    origin: str


def load(root: Path, part: Literal["train", "test"]) -> Part:
    """The 50 000 images to learn from or the 10 000 to judge by."""
    packed = root / f"cifar10_{part}.npz"
    return _jpeg_copy(packed) if packed.exists() else _original(root, part)


def _jpeg_copy(path: Path) -> Part:
    from PIL import Image

    with np.load(path, allow_pickle=False) as file:
        jpeg, offsets, labels = file["jpeg"], file["offsets"], file["labels"]
    parts = [jpeg[start:end].tobytes() for start, end in itertools.pairwise(offsets)]
    images = np.stack([np.asarray(Image.open(io.BytesIO(part)).convert("RGB")) for part in parts])
    return Part(images, labels, "CIFAR-10 (JPEG copy)")


def _original(root: Path, part: str) -> Part:
    from torchvision.datasets import CIFAR10

    data = CIFAR10(str(root), train=part == "train", download=True)
    return Part(data.data, np.asarray(data.targets, np.int64), "CIFAR-10")


def normalized(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 32, 32, 3) → float32 (n, 3, 32, 32), with ImageNet's means and deviations."""
    planes = (images.astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(planes.transpose(0, 3, 1, 2))


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The usual changes: moved by up to 4 pixels over black, half of them mirrored; uint8 in, uint8 out."""
    wide = np.pad(images, [(0, 0), (4, 4), (4, 4), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(wide, (SIDE, SIDE), axis=(1, 2))
    down, right = rng.integers(0, 9, (2, len(images)))
    moved = windows[np.arange(len(images)), down, right].transpose(0, 2, 3, 1)
    mirrored = rng.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], moved[:, :, ::-1], moved)
