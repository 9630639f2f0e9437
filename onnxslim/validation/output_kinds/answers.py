"""Outputs that are answers already: classes, counts, texts. They are equal or they are not."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation

#: A map of at most so many different integers shows regions, and not numbers.
_MAX_REGION_CLASSES = 256


def recognize_answers(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Integers, texts and truth values."""
    if output.is_float:
        return None
    name = output.name
    if (scores := _find_scores(output, model)) is not None:
        return OutputKind((name,), "answers", (), f"they are the answers of {scores}, which is judged")
    if output.dtype.kind in "iub" and len(output.squeezed_shape) == 2 and min(output.squeezed_shape) >= 8:
        classes = np.unique(np.concatenate([row.reshape(-1) for row in output.rows]))
        if 2 <= len(classes) <= _MAX_REGION_CLASSES and output.ending.op != "NonZero":
            return OutputKind(
                (name,), "class maps", ("iou",), f"it holds {len(classes)} different integers in maps",
                beside=("agreement",), squeezed=output.is_squeezed,
            )  # fmt: skip
    kind = {"b": "truth values", "f": "numbers"}.get(output.dtype.kind, "classes or texts")
    return OutputKind((name,), "answers", ("agreement",), f"it gives {kind}, which are equal or not")


def _find_scores(output: OutputObservation, model: ModelObservation) -> str | None:
    """The output whose best entry ``output`` names, sample by sample, each by a name of its own."""
    if any(row.size != 1 for row in output.rows):
        return None
    answers = [str(row.reshape(-1)[0]) for row in output.rows]
    for name, other in model.outputs.items():
        if not other.is_float or len(other.squeezed_shape) != 1 or other.squeezed_shape[0] < 2 or other.vectors is None:
            continue
        pairs = set(zip(answers, other.vectors.argmax(axis=1).tolist(), strict=True))
        if len(pairs) > 1 and len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
            return name
    return None
