"""Metrics, one table row each: what every sample contributes, and what becomes of the mean of that.

A metric is a sum over samples, finished once: top-1 sums hits, a relative error sums two energies and takes a quotient,
mIoU sums two counts a class. So evaluation streams, and resampling the rows resamples the metric. To add one, write the
function that scores a batch and give it a row in :data:`METRICS`; ``suits`` says for which outputs and labels it is
used when the user names none, and the first that suits is the one that gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxslim.activations.output_error import difference
from onnxslim.core.errors import InvalidDataError, UsageError

#: (outputs of the model, outputs of the original, labels or None), the sample on the first axis → parts, shape (n, k)
PartsFunction = Callable[[np.ndarray, np.ndarray, "np.ndarray | None"], np.ndarray]
#: means of the parts, shape (m, k) → m values
FinishFunction = Callable[[np.ndarray], np.ndarray]
#: (outputs of one batch, labels of all samples or None) → whether a metric is a default for them
DefaultPredicate = Callable[[np.ndarray, "np.ndarray | None"], bool]


@dataclass(frozen=True)
class Metric:
    """One way to judge outputs.

    Attributes:
        name: As on the command line and in the JSON report.
        display_name: As people call it.
        parts: What each sample of a batch contributes: float64, shape (n, k).
        against: Whether outputs are judged by labels, by the original's outputs, or by labels where there are any.
        is_default_for: Whether it is reported by default.
        finish: From means of parts to values; the mean itself by default.
        higher_is_better: False for errors.
        point: The drop, in the metric's own unit, that weighs as much as one point of a classifier's top-1 (0.01).
        is_relative: ``point`` is a share of the original's value, because the unit is that of the data.
    """

    name: str
    display_name: str
    parts: PartsFunction
    against: Literal["labels", "original", "either"]
    is_default_for: DefaultPredicate = lambda values, labels: False
    finish: FinishFunction = lambda means: means[:, 0]
    higher_is_better: bool = True
    point: float = 0.01
    is_relative: bool = False


def is_scores(values: np.ndarray) -> bool:
    """Whether ``values`` are scores of at least two classes, shape (N, C): of one class, argmax would always agree."""
    return values.dtype.kind == "f" and values.ndim == 2 and values.shape[1] > 1


def get_predictions(outputs: np.ndarray) -> np.ndarray:
    """What a model says: the index of the highest score along axis 1, or an integer or string output as it is.

    A row that holds a NaN, or nothing, says nothing: its answer is -1, which equals no class.
    """
    if outputs.dtype.kind != "f":
        return outputs
    if not outputs.shape[1]:
        return np.full((len(outputs), *outputs.shape[2:]), -1)
    predicted = np.argmax(outputs, axis=1)
    return np.where(np.isnan(outputs).any(axis=1), -1, predicted)


def _top(k: int) -> PartsFunction:
    def hits(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        truth = _check_class_labels(f"top{k}", labels, outputs)
        if outputs.dtype.kind != "f":
            return _as_column(outputs == truth)
        scores = outputs[np.arange(len(outputs)), truth][:, None]
        before = np.arange(outputs.shape[1]) < truth[:, None]
        # Ties go to the lower index, as they do in argmax, so that top-1 is what `answers` says.
        rank = ((outputs > scores) | ((outputs == scores) & before)).sum(axis=1)
        return _as_column((rank < k) & ~np.isnan(outputs).any(axis=1))

    return hits


def _agreement(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    if outputs.shape != original.shape:
        return np.zeros((len(outputs), 1))
    predicted = get_predictions(outputs)
    same = (predicted == get_predictions(original)) & ((predicted != -1) | (outputs.dtype.kind != "f"))
    if outputs.dtype.kind == "f":  # where the original says nothing, the same nothing agrees with it
        says_nothing = np.isnan(original).any(axis=1) | (not original.shape[1])
        same |= says_nothing & (np.isnan(outputs) == np.isnan(original)).all(axis=1)
    answers = same.reshape(len(same), -1)
    # two lists of nothing are the same list
    return _as_column(answers.mean(axis=1) if answers.shape[1] else np.ones(len(same)))


def _confidence(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """The original's probability of the answer that ``outputs`` give.

    Its drop estimates the drop of top-1 without labels: an answer that changed between two classes the original held
    to be equally likely costs nothing on average, one it was sure of costs a whole sample. Scores that are not
    probabilities are taken for logits.
    """
    if not is_scores(outputs) or outputs.shape != original.shape:
        raise UsageError("metric confidence: expected scores of shape (N, C)", hint="name such an output with --output")
    scores = original.astype(np.float64)
    says_nothing = np.isnan(scores).any(axis=1)
    scores[says_nothing] = 0.0
    scores[says_nothing, 0] = 1.0
    if scores.min() < 0 or not np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    chosen = scores[np.arange(len(scores)), np.argmax(np.nan_to_num(outputs, nan=-np.inf), axis=1)]
    return _as_column(np.where(says_nothing, (np.isnan(outputs) == np.isnan(original)).all(axis=1), chosen))


def _relative(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    energy = np.square(np.nan_to_num(_flatten_samples(original), posinf=0, neginf=0)).sum(axis=1)
    if outputs.shape != original.shape:  # nothing to subtract: as far apart as two things that share nothing
        error = energy + np.square(_flatten_samples(outputs)).sum(axis=1)
    else:
        error = np.square(difference(_flatten_samples(original), _flatten_samples(outputs))).sum(axis=1)
    return np.stack([np.where(np.isnan(error), np.inf, error), energy], axis=1)


def _relative_finish(means: np.ndarray) -> np.ndarray:
    error, energy = means[:, 0], means[:, 1]
    ratio = np.divide(error, energy, out=np.where(error > 0, np.inf, 0.0), where=energy > 0)
    return np.asarray(1 - np.sqrt(ratio))


def _deviation(name: str, measure: Callable[[np.ndarray], np.ndarray]) -> PartsFunction:
    def deviations(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return _as_column(measure(_flatten_samples(outputs) - _check_numeric_labels(name, labels, outputs)).mean(axis=1))

    return deviations


def _miou(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    if outputs.dtype.kind != "f" or outputs.ndim < 3:
        raise UsageError("metric miou: expected scores of shape (N, C, H, W)", hint="name such an output with --output")
    predicted, truth = _classify_pixels(outputs), _classify_pixels(original) if labels is None else labels
    if truth.shape != predicted.shape:
        raise InvalidDataError(f"metric miou: expected labels of shape {predicted.shape}, got {truth.shape}")
    count = max(2, outputs.shape[1])
    classes = np.arange(count).reshape(-1, *[1] * predicted.ndim)
    is_labeled = (truth >= 0) & (truth < count)  # 255 and -1 are the customary "ignore this pixel"
    predicted_masks, true_masks = (predicted == classes) & is_labeled, (truth == classes) & is_labeled
    axes = tuple(range(2, predicted_masks.ndim))
    counts = [(predicted_masks & true_masks).sum(axes).T, (predicted_masks | true_masks).sum(axes).T]
    return np.concatenate(counts, axis=1).astype(np.float64)


def _classify_pixels(outputs: np.ndarray) -> np.ndarray:
    """The class of every pixel; of a single map of probabilities, whether it is at least a half."""
    return get_predictions(outputs) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(np.int64)


def _f1(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """What is there and found, found without being there, and there without being found; shape (n, 3)."""
    truth = original if labels is None else labels
    if outputs.dtype.kind != "f" or not 0 <= original.min(initial=0) <= original.max(initial=0) <= 1 + 1e-3:
        raise UsageError("metric f1: expected probabilities", hint="name such an output with --output")
    if truth.size != outputs.size or (labels is not None and not np.isin(labels, (0, 1)).all()):
        raise InvalidDataError(
            f"labels: metric f1 expects 0 and 1 of the output's shape {outputs.shape}, got {truth.dtype} of shape"
            f" {truth.shape}"
        )
    predicted, actual = _flatten_samples(outputs) >= 0.5, _flatten_samples(truth) >= 0.5
    counts = [(predicted & actual).sum(1), (predicted & ~actual).sum(1), (~predicted & actual).sum(1)]
    return np.stack(counts, axis=1).astype(float)


def _f1_finish(means: np.ndarray) -> np.ndarray:
    hits, errors = 2 * means[:, 0], means[:, 1] + means[:, 2]
    return np.asarray(np.divide(hits, hits + errors, out=np.ones(len(means)), where=hits + errors > 0))


def _miou_finish(means: np.ndarray) -> np.ndarray:
    intersection, union = np.split(means, 2, axis=1)
    occurs = union > 0
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=occurs)
    return np.asarray(iou.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1))


def _ctc(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    if outputs.dtype.kind != "f" or outputs.ndim != 3:
        raise UsageError("metric ctc: expected scores of shape (N, T, C)", hint="name such an output with --output")
    truths = [_decode_greedily(row) for row in original] if labels is None else [row[row > 0] for row in labels]
    edits = [edit_distance(_decode_greedily(row), truth) for row, truth in zip(outputs, truths, strict=True)]
    return np.stack([np.asarray(edits, float), np.asarray([len(truth) for truth in truths], float)], axis=1)


def _ctc_finish(means: np.ndarray) -> np.ndarray:
    edits, length = means[:, 0], means[:, 1]
    return np.asarray(1 - np.divide(edits, length, out=np.where(edits > 0, 1.0, 0.0), where=length > 0))


def _decode_greedily(scores: np.ndarray) -> np.ndarray:
    """Greedy CTC decoding (Graves, 2006): repeats merged, then the blank, class 0, left out."""
    best = scores.argmax(axis=1)
    keep = np.concatenate([[True], best[1:] != best[:-1]]) & (best != 0)
    return np.asarray(best[keep])


def edit_distance(a: np.ndarray, b: np.ndarray) -> int:
    """Levenshtein's distance of two sequences."""
    row = np.arange(len(b) + 1)
    for i, item in enumerate(a, 1):
        step = np.minimum(row[1:] + 1, row[:-1] + (b != item))
        # An insertion costs 1 per place: the running minimum of value - place, put back.
        row = np.minimum.accumulate(np.concatenate([[i], step]) - np.arange(len(b) + 1)) + np.arange(len(b) + 1)
    return int(row[-1])


def _as_column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def _flatten_samples(outputs: np.ndarray) -> np.ndarray:
    return outputs.reshape(len(outputs), -1).astype(np.float64)


def _check_class_labels(name: str, labels: np.ndarray | None, outputs: np.ndarray) -> np.ndarray:
    """Class labels, shape (n,), that fit ``outputs``."""
    if labels is None:
        raise UsageError(f"metric {name}: the data have no labels", hint="name their key with --labels")
    if labels.ndim != 1 or labels.dtype.kind not in ("iu" if outputs.dtype.kind == "f" else "iubUSO"):
        raise InvalidDataError(
            f"labels: metric {name} expects class numbers of shape (N,), got {labels.dtype} of shape {labels.shape}"
        )
    if outputs.dtype.kind == "f" and len(labels) and not 0 <= labels.min() <= labels.max() < outputs.shape[1]:
        raise InvalidDataError(
            f"labels: expected classes 0 to {outputs.shape[1] - 1}, got {labels.min()} to {labels.max()}",
            hint="classes are counted from 0 in the order of the model's scores",
        )
    return labels


def _check_numeric_labels(name: str, labels: np.ndarray | None, outputs: np.ndarray) -> np.ndarray:
    """Numeric labels with as many elements as ``outputs``, flattened per sample."""
    if labels is None:
        raise UsageError(f"metric {name}: the data have no labels", hint="name their key with --labels")
    if labels.dtype.kind not in "iuf" or labels.size != outputs.size:
        raise InvalidDataError(
            f"labels: metric {name} expects numbers of the output's shape {outputs.shape}, got {labels.dtype}"
            f" of shape {labels.shape}"
        )
    return _flatten_samples(labels)


def _has_real_labels(values: np.ndarray, labels: np.ndarray | None) -> bool:
    """Whether the labels are real numbers, one for each of the output's."""
    return labels is not None and labels.dtype.kind == "f" and labels[:1].size == values[:1].size


def _has_class_labels(values: np.ndarray, labels: np.ndarray | None) -> bool:
    """Whether the labels are classes, one a sample, and the output names or scores one."""
    classes = labels is not None and labels.ndim == 1 and labels.dtype.kind != "f"
    return classes and (is_scores(values) or (values.dtype.kind != "f" and values.ndim == 1))


def _is_discrete(values: np.ndarray, labels: np.ndarray | None) -> bool:
    return values.dtype.kind != "f" or (is_scores(values) and not _has_real_labels(values, labels))


def _has_label_maps(values: np.ndarray, labels: np.ndarray | None) -> bool:
    """Whether the labels are class maps of the size of the output's score maps."""
    return (
        labels is not None and labels.dtype.kind in "iu" and values.dtype.kind == "f"
        and values.ndim > 2 and labels.shape[1:] == values.shape[2:]
    )  # fmt: skip


#: name → metric, the one that gates before the others
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "Top-1", _top(1), "labels", _has_class_labels),
        Metric("top5", "Top-5", _top(5), "labels", lambda v, y: _has_class_labels(v, y) and is_scores(v) and v.shape[1] > 5),
        Metric("agreement", "Agreement", _agreement, "original", _is_discrete),
        Metric("confidence", "Expected top-1", _confidence, "original"),
        Metric("miou", "mIoU", _miou, "either", _has_label_maps, _miou_finish),
        Metric("f1", "F1", _f1, "either", finish=_f1_finish),
        Metric(
            "relative", "1 − relative error", _relative, "original", lambda v, y: not _is_discrete(v, y), _relative_finish
        ),
        Metric(
            "rmse",
            "RMSE",
            _deviation("rmse", np.square),
            "labels",
            _has_real_labels,
            lambda m: np.sqrt(m[:, 0]),
            higher_is_better=False,
            is_relative=True,
        ),
        Metric("mae", "MAE", _deviation("mae", np.abs), "labels", higher_is_better=False, is_relative=True),
        Metric("ctc", "Sequence accuracy", _ctc, "either", finish=_ctc_finish),
    )
}
