"""Labelled samples of known scores."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples


def labelled(model: ir.Model, n: int = 200, noise: float = 0.6, classes: int = 10) -> Samples:
    """Noisy one-hot inputs, which the identity classifies well but not perfectly."""
    labels = np.arange(n) % classes
    x = np.eye(10)[labels] + noise * np.random.default_rng(1).normal(size=(n, 10))
    return open_samples({"x": x.astype(np.float32), "labels": labels}, model)


def scores(samples: Samples, weight: np.ndarray) -> np.ndarray:
    return np.concatenate([batch["x"] for batch in samples.batches(64)]) @ weight.astype(np.float32)
