"""The convolutional sample model and inputs for it."""

from __future__ import annotations

import numpy as np

from tests.support.paths import SAMPLES


def feeds(n: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"image": rng.uniform(size=(1, 1, 8, 8)).astype(np.float32)} for _ in range(n)]


MODEL = SAMPLES / "digits_cnn.onnx"
FEED = {"image": np.random.default_rng(0).uniform(size=(1, 1, 8, 8)).astype(np.float32)}
