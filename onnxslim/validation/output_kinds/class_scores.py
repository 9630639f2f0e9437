"""Scores of classes, one row a sample: probabilities, their logarithms, or logits that are confident on the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.name_hints import hints_at
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation, describe_scores

#: Ops that end in scores of classes, whatever the values are.
_SCORE_OPS = frozenset(
    ("Softmax", "LogSoftmax", "TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier", "Normalizer")
)
#: Ops that logits do not come out of.
_NO_LOGIT_OPS = frozenset(
    ("BatchNormalization", "Clip", "Exp", "HardSigmoid", "InstanceNormalization", "LayerNormalization", "LpNormalization",
     "LSTM", "GRU", "RNN", "Relu", "Sigmoid", "SkipLayerNormalization", "Tanh")
)  # fmt: skip
#: A model that always gives the same answers has to lose as much for its answers to be worth comparing.
_MIN_MARGIN, _MIN_LOGIT_MARGIN = 0.05, 0.1
#: The softmax is confident from this mean probability of the best on, or, of many classes, from so many times an even guess.
_MIN_CONFIDENCE, _MIN_RARE_CONFIDENCE, _MIN_GAIN = 0.5, 0.15, 20.0
#: Cross entropy does not see what all logits of a row have in common, so training leaves it alone: it varies by less than
#: this share of what independent numbers would have in common.
_MAX_COMMON_VARIATION = 0.5
#: Of many classes one stands out above the others by so many times what the last falls short of them.
_MANY_CLASSES, _MIN_SKEW = 32, 1.25


def recognize_class_scores(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Rows of C ≥ 2 floats that are probabilities, logarithms of them, or logits."""
    size = output.squeezed_shape
    if not output.is_float or len(size) != 1 or size[0] < 2 or len(output.shape) == 2 or not output.has_fixed_shape:
        return None
    axis = output.shape.index(size[0])
    known = output.probabilities(axis)
    if known is None:
        return _recognize_logits(output, axis)
    rows, what = known
    facts, name = describe_scores(rows), output.name
    reason = (
        f"rows of {name} sum to one" if what == "probabilities" else f"rows of {name} are logarithms of what sums to one"
    )
    kind = make_class_scores(output, reason)
    if facts.margin >= _MIN_MARGIN:
        return kind
    return _gate_by_divergence(kind) if output.ending.op in _SCORE_OPS or hints_at(name, "classes") else None


def make_class_scores(output: OutputObservation, reason: str, alternative: str | None = None) -> OutputKind:
    """The kind itself."""
    return OutputKind(
        (output.name,), "class scores", ("confidence", "agreement"), reason, alternative=alternative, guards=("agreement",),
        squeezed=output.is_squeezed,
    )  # fmt: skip


def are_logits(output: OutputObservation, axis: int, *, named: bool = False) -> bool:
    """Whether the rows along ``axis`` of each sample look like logits of classes whose softmax is confident.

    Args:
        output: What was seen.
        axis: Of a sample.
        named: The name says so: then only the softmax has to be confident, for one answer or another.
    """
    if output.ending.op in _NO_LOGIT_OPS or output.ending.has_unit_length:
        return False
    rows = output.scores(axis)
    if len(rows) < 2 or rows.shape[1] < 2:
        return False
    facts, classes = describe_scores(output.softmax(axis)), rows.shape[1]
    is_rare = facts.confidence >= _MIN_RARE_CONFIDENCE and facts.confidence * classes >= _MIN_GAIN
    if facts.confidence < _MIN_CONFIDENCE and not is_rare:
        return False
    return named or (facts.margin >= _MIN_LOGIT_MARGIN and rows.min() < 0 and _have_nothing_in_common(rows))


def _have_nothing_in_common(rows: np.ndarray) -> bool:
    """Whether logits, shape (m, C), vary against each other and not together, or one stands out of many."""
    classes = rows.shape[1]
    variation = float(rows.var(axis=0).mean())
    common = float(rows.mean(axis=1).var()) * classes
    if common <= _MAX_COMMON_VARIATION * variation:
        return True
    if classes < _MANY_CLASSES:
        return False
    middle = rows.mean(axis=1)
    above, below = rows.max(axis=1) - middle, middle - rows.min(axis=1)
    return float(np.median(above / np.maximum(below, 1e-9))) >= _MIN_SKEW


def _recognize_logits(output: OutputObservation, axis: int) -> OutputKind | None:
    name = output.name
    if hints_at(name, "embeddings") or hints_at(name, "numbers"):
        return None
    named = hints_at(name, "classes")
    if not are_logits(output, axis, named=named):
        return None
    reason = f"the softmax of {name} is confident on these samples"
    if describe_scores(output.softmax(axis)).margin < _MIN_LOGIT_MARGIN:
        return _gate_by_divergence(make_class_scores(output, reason))
    return make_class_scores(output, reason, None if named else f"numbers, if {name} scores no classes: --metric variance")


def _gate_by_divergence(kind: OutputKind) -> OutputKind:
    """``kind`` where comparing answers proves little."""
    reason = f"{kind.reason}; the answers hardly differ on these samples, so KL gates too"
    return replace(kind, gates=("confidence", "kl", "agreement"), reason=reason)
