"""What detectors give: boxes with their scores, decoded or still as cells of a grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxslim.core.errors import OnnxslimError
from onnxslim.validation.metrics import detection
from onnxslim.validation.metrics.detection import MIN_TRUSTED_SCORE
from onnxslim.validation.metrics.undecoded.heads import MIN_ANCHOR_CHANNELS, HeadLayout, find_heads, join_tensors
from onnxslim.validation.output_kinds.frames import recognize_frame_scores
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.maps import recognize_masks, takes_images
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation

#: Metrics of boxes, by the original's own where there are no labels.
BOX_METRICS = ("ap", "box_f1", "box_f1_75")
#: Metrics of heads that are not decoded.
CELL_METRICS = ("cells", "offsets")
#: Candidates in one tensor are many more than what each of them says.
_MIN_CANDIDATES = 32
#: Coordinates in pixels reach beyond this; others lie in the unit square.
_MIN_PIXEL_SIZE = 8.0


def recognize_boxes(model: ModelObservation) -> OutputKind | None:
    """Boxes with their scores, in several outputs or one, where the original finds some on the samples."""
    tensors = {name: one for name, one in model.outputs.items() if one.dtype.kind in "fiu"}
    named = {name: one for name, one in tensors.items() if name not in model.state}
    if detection.has_named_boxes(_take_sample(named, 0)):
        names = _pick_box_outputs(named)
        reason = "outputs are called boxes and scores"
    else:
        names = next(((name,) for name, one in named.items() if _is_decoded(one, model)), ())
        reason = f"{names[0]} holds boxes with scores for every candidate" if names else ""
    if not names:
        return None
    found = sum(_count_boxes({name: named[name] for name in names}, index) for index in range(model.sample_count))
    if not found:
        return None
    return OutputKind(
        names, "boxes", BOX_METRICS, f"{reason}, and the original finds {found} on {model.sample_count} samples"
    )


def recognize_cells(model: ModelObservation) -> OutputKind | None:
    """Heads that are not decoded: cells of a grid with scores beside numbers that place a box, in one output or several."""
    if not takes_images(model):
        return None
    candidates = {
        name: np.stack(one.rows)
        for name, one in model.outputs.items()
        if one.is_float and name not in model.state and len(one.shape) in (2, 3, 4) and one.has_fixed_shape
    }
    heads = [head for head in find_heads(candidates, model.sample_count) if _is_head(head, model, candidates)]
    if not heads:
        return None
    names = tuple(name for head in heads for name in head.names)
    fired = sum(int((head.read(candidates)[0] >= MIN_TRUSTED_SCORE).sum()) for head in heads)
    if not fired:
        return None
    reason = f"cells hold scores beside numbers that place a box, and {fired} of them fire on {model.sample_count} samples"
    return OutputKind(names, "detector heads", CELL_METRICS, reason)


def _is_head(head: HeadLayout, model: ModelObservation, candidates: Mapping[str, np.ndarray]) -> bool:
    cells, channels = join_tensors([candidates[name] for name in head.names]).shape[1:]
    if channels < MIN_ANCHOR_CHANNELS or cells < _MIN_CANDIDATES or head.scores.all():
        return False
    if len(head.names) > 1:
        return True
    # maps and frames that are scores through and through are no boxes
    alone = model.outputs[head.names[0]]
    return recognize_masks(alone, model) is None and recognize_frame_scores(alone, model) is None


def _pick_box_outputs(outputs: Mapping[str, OutputObservation]) -> tuple[str, ...]:
    words = ("box", "score", "class", "label", "num", "count")
    return tuple(name for name in outputs if any(word in name.lower() for word in words))


def _take_sample(outputs: Mapping[str, OutputObservation], index: int) -> dict[str, np.ndarray]:
    return {name: one.rows[index][None] for name, one in outputs.items()}


def _count_boxes(outputs: Mapping[str, OutputObservation], index: int) -> int:
    try:
        (boxes,) = detection.read_boxes(_take_sample(outputs, index), 1)
    except (OnnxslimError, ValueError, IndexError):
        return 0
    return len(boxes.with_min_score(MIN_TRUSTED_SCORE).scores)


def _is_decoded(output: OutputObservation, model: ModelObservation) -> bool:
    """Whether every candidate in ``output``, (K, 6), (4 + C, K) or (K, 5 + C), is a box with probabilities beside it."""
    if not output.is_float or len(output.shape) != 2 or not takes_images(model):
        return False
    if output.shape[1] == 6 and detection.is_box_list(np.concatenate(output.rows)):
        return True
    if min(output.shape) < 5 or max(output.shape) < max(_MIN_CANDIDATES, 2 * min(output.shape)):
        return False
    axis = 0 if output.shape[0] < output.shape[1] else 1
    if any(output.probabilities(one) is not None for one in (0, 1)):  # scores of classes, box by box or frame by frame
        return False
    candidates = np.concatenate([np.moveaxis(row, axis, -1) for row in output.rows]).astype(np.float64)
    boxes, scores = candidates[:, :4], candidates[:, 4:]
    if not np.isfinite(candidates).all() or scores.min() < -1e-3 or scores.max() > 1 + 1e-3:
        return False
    # sides of boxes are not negative, and a grid's offsets and logarithms of sides are; what is decoded covers the image
    has_sides = float((boxes[:, 2:] > 0).mean()) > 0.999
    covers_pixels = boxes[:, :2].max() > _MIN_PIXEL_SIZE
    covers_unit = boxes[:, :2].min() > -0.5 and 0.5 < boxes[:, :2].max() < 1.5 and boxes[:, 2:].max() < 3
    return has_sides and bool(covers_pixels or covers_unit)
