"""The sample models and data that runs are judged on."""

from __future__ import annotations

from tests.support.paths import SAMPLES

MODEL, MLP, CALIB, EVAL = (
    SAMPLES / name for name in ("digits_cnn.onnx", "digits_mlp.onnx", "digits_calib.npz", "digits_eval.npz")
)
