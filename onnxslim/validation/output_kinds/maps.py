"""Maps: scores of classes for every pixel, masks, and images that come out of images."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.output_kinds.class_scores import are_logits
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation, describe_scores
from onnxslim.validation.output_kinds.vectors import describe_decisions

#: Maps are at least so high and wide.
_MIN_SIDE = 4
#: How many times as large as the image that goes in one may be that comes out.
_SCALES = frozenset((0.125, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0))
_IMAGE_CHANNELS = frozenset((1, 3, 4))
#: Ranges of pixels; an image may leave its range by this share of it, and fills at least the second.
_PIXEL_RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))
_MAX_EXCESS, _MIN_FILLED = 0.25, 0.3


def recognize_masks(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Scores of classes for every pixel, or one map of probabilities that decide."""
    if not output.is_float or len(output.shape) not in (2, 3):
        return None
    shape, name = output.shape, output.name
    if is_map(output) and takes_images(model):
        sums_to_one = len(shape) == 2 and any(output.probabilities(axis) is not None for axis in (0, 1))
        reason = None if sums_to_one else describe_decisions(output)
        if reason is None or (not output.ending.probability_op and _is_image(output, model)):
            return None
        last = len(shape) == 3 and shape[-1] == 1 and shape[0] != 1
        return OutputKind((name,), "masks", ("iou",), reason, beside=("f1",), channels_last=last)
    if len(shape) != 3:
        return None
    for axis in (0, 2):
        if shape[axis] < 2 or min(size for at, size in enumerate(shape) if at != axis) < _MIN_SIDE:
            continue
        known = output.probabilities(axis)
        if known is not None:
            answers, reason = known[0], f"{name} holds {known[1]} of {shape[axis]} classes for every place"
        elif _is_channel_axis(shape, axis) and not _is_image(output, model) and are_logits(output, axis):
            answers, reason = (
                output.softmax(axis),
                f"the softmax of {name} over {shape[axis]} classes is confident at every place",
            )
        else:
            continue
        if describe_scores(answers).top_share < 1.0:
            return OutputKind((name,), "score maps", ("iou",), reason, beside=("agreement",), channels_last=axis == 2)
    return None


def recognize_images(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Pixels, where pixels go in."""
    if not output.is_float or not _is_image(output, model):
        return None
    reason = f"values of {output.name} lie in a range of pixels, in the shape of an image that goes in"
    return OutputKind((output.name,), "images", ("psnr",), reason, beside=("variance",))


def _is_channel_axis(shape: tuple[int, ...], axis: int) -> bool:
    """Whether fewer things are told apart along ``axis`` than there are places."""
    return shape[axis] < min(size for at, size in enumerate(shape) if at != axis)


def is_map(output: OutputObservation) -> bool:
    """Whether each sample is one map: of height and width, and no more."""
    return len(output.squeezed_shape) == 2 and min(output.squeezed_shape) >= 2 * _MIN_SIDE


def takes_images(model: ModelObservation) -> bool:
    """Whether images go in."""
    return any(rows.ndim == 4 and _find_image_axes(rows.shape[1:]) is not None for rows in model.inputs.values())


def _find_image_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of a sample that may be an image, channels first, last, or left out; None of any other shape."""
    if len(shape) == 2 and min(shape) >= 2 * _MIN_SIDE:
        return shape[0], shape[1]
    if len(shape) != 3:
        return None
    if shape[0] in _IMAGE_CHANNELS and min(shape[1:]) >= _MIN_SIDE:
        return shape[1], shape[2]
    return (shape[0], shape[1]) if shape[2] in _IMAGE_CHANNELS and min(shape[:2]) >= _MIN_SIDE else None


def _is_image(output: OutputObservation, model: ModelObservation) -> bool:
    size = _find_image_axes(output.shape) if len(output.shape) == 3 else None
    if size is None:
        return False
    sizes = [found for rows in model.inputs.values() if rows.ndim == 4 and (found := _find_image_axes(rows.shape[1:]))]
    scales = [(size[0] / high, size[1] / wide) for high, wide in sizes]
    return _fills_pixel_range(output.values) and any(high == wide and high in _SCALES for high, wide in scales)


def _fills_pixel_range(values: np.ndarray) -> bool:
    if not values.size:
        return False
    low, high = np.quantile(values, [0.001, 0.999])
    return any(
        low >= bottom - _MAX_EXCESS * (top - bottom)
        and high <= top + _MAX_EXCESS * (top - bottom)
        and high - low >= _MIN_FILLED * (top - bottom)
        for bottom, top in _PIXEL_RANGES
    )
