"""Outputs as recognizers see them, made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxslim.validation.output_kinds.graph_ending import PROBABILITY_OPS, GraphEnding
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation
from onnxslim.validation.output_kinds.recognition import recognize

IMAGE = np.zeros((1, 3, 64, 64), np.float32)
VECTOR = np.zeros((1, 20), np.float32)
TOKENS = np.zeros((1, 12), np.int64)


def observe_outputs(
    outputs: Mapping[str, np.ndarray],
    inputs: np.ndarray = VECTOR,
    labels: np.ndarray | None = None,
    ops: Mapping[str, str] | None = None,
    state: Mapping[str, str] | None = None,
) -> ModelObservation:
    """``outputs``, the sample on the first axis, as those of a model; ``ops`` are what makes each of them."""
    ops = ops or {}
    found = {
        name: OutputObservation(name, tuple(map(np.asarray, rows)), _end_with(ops.get(name, "Gemm")))
        for name, rows in outputs.items()
    }
    return ModelObservation(found, {"x": inputs}, labels, state or {})


def _end_with(op: str) -> GraphEnding:
    return GraphEnding(op, probability_op=op if op in PROBABILITY_OPS else "")


def name_kinds(outputs: Mapping[str, np.ndarray], **given: object) -> list[str]:
    """What each of ``outputs`` is called."""
    return [kind.name for kind in recognize(observe_outputs(outputs, **given))]  # type: ignore[arg-type]


def recognize_one(rows: np.ndarray, name: str = "y", op: str = "Gemm", inputs: np.ndarray = VECTOR) -> OutputKind:
    """What a model's only output is."""
    (kind,) = recognize(observe_outputs({name: rows}, inputs, ops={name: op}))
    return kind


def make_logits(n: int, classes: int, scale: float = 6.0, seed: int = 0) -> np.ndarray:
    """Logits as cross entropy leaves them: one stands out, and all together they vary little; float32 (n, classes)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), np.arange(n) % classes] += scale
    logits -= logits.mean(axis=1, keepdims=True)
    return logits.astype(np.float32)


def softmax(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """Float32."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return (powers / powers.sum(axis=axis, keepdims=True)).astype(np.float32)
