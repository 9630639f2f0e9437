"""Numbers of any kind: what nothing more specific is said of."""

from __future__ import annotations

from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.maps import is_map, takes_images
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation
from onnxslim.validation.output_kinds.vectors import is_like_an_input, is_series


def recognize_numbers(output: OutputObservation, model: ModelObservation) -> OutputKind:
    """Numbers that are held against how they differ between samples."""
    name, size = output.name, output.squeezed_shape
    vectors = output.vectors if len(size) == 1 and size[0] > 1 else None
    alternative = None
    if is_like_an_input(output, model):
        reason = f"{name} has the shape of what goes in"
    elif vectors is not None and len(vectors) > 1 and is_series(vectors):
        reason = f"values of {name} beside each other are alike, as in a series"
    else:
        alternative = _find_alternative(output, model)
        reason = f"values of {name} are neither scores, probabilities, vectors to compare, nor pixels"
    return make_numbers(name, reason, alternative)


def make_numbers(name: str, reason: str, alternative: str | None = None) -> OutputKind:
    """The kind itself."""
    return OutputKind((name,), "numbers", ("variance", "deviation"), reason, alternative=alternative)


def _find_alternative(output: OutputObservation, model: ModelObservation) -> str | None:
    """What else the shape would allow."""
    size = output.squeezed_shape
    if len(output.shape) == 1 and len(size) == 1 and size[0] > 1:
        return f"scores of {size[0]} classes: --output {output.name} --metric confidence"
    if takes_images(model) and is_map(output) and output.low < 0 < output.high:
        return f"logits of a mask that is cut at 0: --output {output.name} --metric iou"
    return None
