"""The data of the sample models: scikit-learn's digits, split once and written next to this file.

1 797 labelled 8×8 images of handwritten digits (a copy of a UCI data set; NOTICE says whose). The split is stratified
and seeded; the three files are disjoint, and their keys are what ``--data`` reads: the models' input name and
``labels``. Pixels are sixteenths in [0, 1], float32, (n, 1, 8, 8); labels are int64, (n,).

``python sample_models/digits.py`` writes the three files again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
INPUT = "image"
#: What each part is for: *train* for weights, *calib* for ranges and repair, *eval* for the figures that are quoted.
SIZES = {"train": 1097, "calib": 200, "eval": 500}


def path(part: str) -> Path:
    """Where ``part`` ("train", "calib" or "eval") is stored."""
    return HERE / f"digits_{part}.npz"


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """The images, float32 (n, 1, 8, 8), and labels, int64 (n,), of ``part``."""
    with np.load(path(part), allow_pickle=False) as file:
        return file[INPUT], file["labels"]


def split() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The three parts, drawn from scikit-learn's copy."""
    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    rest, held = train_test_split(np.arange(len(labels)), test_size=SIZES["eval"], stratify=labels, random_state=0)
    train, calib = train_test_split(rest, test_size=SIZES["calib"], stratify=labels[rest], random_state=0)
    parts = {"train": train, "calib": calib, "eval": held}
    return {part: (images[index], labels[index]) for part, index in parts.items()}


def main() -> None:
    """Write the three files."""
    for part, (images, labels) in split().items():
        np.savez_compressed(path(part), **{INPUT: images, "labels": labels})
        print(f"{path(part).name}: {len(labels)} images, {path(part).stat().st_size} bytes")


if __name__ == "__main__":
    main()
