"""Pictures on disk."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def picture(path: Path, value: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value + 1, value + 2)).save(path)
