"""Which output the labels of the data are about, and the metrics that they decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxslim.validation.output_kinds.class_scores import make_class_scores
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.numbers import make_numbers
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation

#: Kinds whose scores name a class; labels of classes make one of what was taken for numbers.
_CLASS_KINDS = frozenset(("class scores", "answers"))
#: What guards the labels of maps: they sum pixels up over the set, so that other masks may be right as often.
_MAP_GUARDS = {"score maps": ("iou",), "masks": ("iou",)}


def add_labels(kinds: list[OutputKind], model: ModelObservation) -> list[OutputKind]:
    """``kinds`` with the one that the labels fit best judged by them; unchanged where they fit none."""
    if model.labels is None:
        return kinds
    fitting = [(rank, index, kind) for index, one in enumerate(kinds) for rank, kind in [_fit_labels(one, model)] if kind]
    if not fitting:
        return kinds
    _, index, kind = min(fitting, key=lambda found: found[:2])
    return [*kinds[:index], replace(kind, reads_labels=True), *kinds[index + 1 :]]


def _fit_labels(kind: OutputKind, model: ModelObservation) -> tuple[int, OutputKind | None]:
    """``kind`` with what the labels decide of it, and how far that is from certain; 0 is."""
    labels = model.labels
    assert labels is not None
    if kind.outputs[0] in model.refused:
        return 0, None
    output = model.outputs[kind.outputs[0]]
    if kind.name == "boxes":
        fits = labels.ndim == 3 and labels.shape[2] == 5
        return 0, replace(kind, label_gates=("ap",)) if fits else None
    if labels.ndim == 1 and labels.dtype.kind not in "f" and kind.name not in ("independent probabilities", "masks"):
        return _fit_classes(kind, output, labels)
    size = 1 if labels.ndim == 1 else int(np.prod(labels.shape[1:]))
    fills = size == int(np.prod(output.shape)) and output.is_float
    if kind.name in ("independent probabilities", "masks") and fills and np.isin(labels, (0, 1)).all():
        return 0, replace(kind, label_gates=("f1",), label_guards=_MAP_GUARDS.get(kind.name, ()))
    if kind.name in ("score maps", "masks") and labels.dtype.kind in "iu" and labels.shape[1:] == _get_places(kind, output):
        return 0, replace(kind, label_gates=("miou",), label_guards=_MAP_GUARDS[kind.name])
    if kind.name in ("CTC scores", "token scores") and labels.dtype.kind in "iu" and labels.ndim == 2:
        # the texts themselves: fewer numbers than frames, and class 0, the blank, fills up
        fits = labels.shape[1] != output.shape[0] and kind.name == "CTC scores" and not kind.blank_last
        return 0, replace(kind, label_gates=("ctc",)) if fits else None
    if labels.dtype.kind == "f" and fills and kind.name not in ("hidden states", "state", "cache"):
        if kind.name == "independent probabilities" and "deviation" in kind.gates:  # a yes or no is not what is asked
            kind = make_numbers(output.name, f"the labels are numbers of the shape of {output.name}")
        return 1, replace(kind, label_gates=("rmse", "deviation"))
    return 0, None


def _fit_classes(kind: OutputKind, output: OutputObservation, labels: np.ndarray) -> tuple[int, OutputKind | None]:
    if kind.name == "answers":
        names = {str(row.reshape(-1)[0]) for row in output.rows} if all(row.size == 1 for row in output.rows) else set()
        return 2, replace(kind, label_gates=("top1",)) if names & set(map(str, np.unique(labels).tolist())) else None
    size = output.squeezed_shape
    if not output.is_float or len(size) != 1 or size[0] < 2 or not output.has_fixed_shape or labels.dtype.kind not in "iu":
        return 0, None
    if kind.name == "embeddings" or not 0 <= labels.min() <= labels.max() < size[0]:
        return 0, None
    beside = ("top5",) if size[0] > 5 else ()
    if kind.name != "class scores":
        return 1, replace(
            make_class_scores(output, f"the labels are classes that {output.name} has a number for"),
            label_gates=("top1",), beside=beside,
        )  # fmt: skip
    return 0, replace(kind, label_gates=("top1",), beside=(*beside, *kind.beside))


def _get_places(kind: OutputKind, output: OutputObservation) -> tuple[int, ...]:
    """The shape of a map of the output's places, without its classes."""
    shape = output.shape
    return shape[:-1] if kind.channels_last else shape[1:]
