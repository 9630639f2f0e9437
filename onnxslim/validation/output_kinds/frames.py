"""Rows of scores along a sequence: tokens, frames, CTC; and the hidden states of an encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxslim.validation.output_kinds.class_scores import are_logits
from onnxslim.validation.output_kinds.kind import LENIENCY, OutputKind
from onnxslim.validation.output_kinds.name_hints import hints_at
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation, describe_scores
from onnxslim.validation.output_kinds.vectors import is_like_an_input, is_series

#: Hidden states are at least so wide.
_MIN_HIDDEN_SIZE = 32
#: CTC says "nothing new" in so many frames, tells so many symbols apart, and says each in few frames at a stretch.
_MIN_BLANK_SHARE, _MIN_SYMBOLS, _MAX_RUN = 0.25, 16, 3.0
#: As many different symbols are seen at least.
_MIN_SYMBOLS_SEEN = 5


def recognize_frame_scores(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Scores of classes along a sequence, (T, C) a sample; (T, 1, C) where they are CTC's, as a model of one line that puts
    time first gives them.
    """
    if len(output.shape) == 3 and output.shape[1] == 1 < output.shape[0]:
        kind = _recognize_scores(replace(output, rows=tuple(row.reshape(len(row), -1) for row in output.rows)))
        return replace(kind, squeezed=True) if kind is not None and kind.gates == ("ctc",) else None
    return _recognize_scores(output)


def _recognize_scores(output: OutputObservation) -> OutputKind | None:
    if not output.is_float or len(output.shape) != 2 or output.shape[1] < 2:
        return None
    name, known = output.name, output.probabilities(-1)
    if known is not None:
        if describe_scores(known[0]).top_share == 1.0:
            return None
        reason = f"rows of {name} along its last axis are {known[1]}"
    elif not hints_at(name, "embeddings") and are_logits(output, -1, named=hints_at(name, "classes")):
        reason = f"the softmax of {name} along its last axis is confident on these samples"
    else:
        return None
    blank = next((one for one in (0, output.shape[1] - 1) if _is_ctc(output, one)), None)
    if blank is not None:
        alternative = f"scores of frames that each count: --output {name} --metric tokens"
        return OutputKind(
            (name,), "CTC scores", ("ctc",), f"{reason}; many frames answer class {blank}, the blank, and no symbol lasts",
            beside=("tokens", "kl"), alternative=alternative, blank_last=blank > 0,
        )  # fmt: skip
    return OutputKind(
        (name,), "token scores", ("tokens", "kl", "agreement"), reason, guards=("agreement",), classes_last=True
    )


def recognize_hidden_states(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Vectors along a sequence, (T, D) a sample, that score nothing: pooled by whoever reads them."""
    if (
        not output.is_float
        or len(output.shape) != 2
        or output.shape[1] < _MIN_HIDDEN_SIZE
        or is_like_an_input(output, model)
    ):
        return None
    if not _takes_sequences(output, model) or is_series(output.scores(-1)):
        return None
    name = output.name
    return OutputKind(
        (name,), "hidden states", ("variance", "deviation"), f"{name} holds {output.shape[1]} numbers a place of a line",
        leniency=LENIENCY,
    )  # fmt: skip


def _takes_sequences(output: OutputObservation, model: ModelObservation) -> bool:
    """Whether an input has integers along a sequence (tokens), or the output is called hidden states."""
    has_tokens = any(rows.dtype.kind in "iu" and rows.ndim == 2 for rows in model.inputs.values())
    return has_tokens or hints_at(output.name, "hidden states") or hints_at(output.name, "embeddings")


def _is_ctc(output: OutputObservation, blank: int) -> bool:
    if output.shape[1] < _MIN_SYMBOLS or output.shape[0] < 4:
        return False
    answers = [row.argmax(axis=1) for row in output.rows]
    joined = np.concatenate(answers)
    symbols = joined[joined != blank]
    starts = sum(int(((row != blank) & (np.concatenate([[blank], row[:-1]]) != row)).sum()) for row in answers)
    if not starts or (joined == blank).mean() < _MIN_BLANK_SHARE or len(np.unique(symbols)) < _MIN_SYMBOLS_SEEN:
        return False
    return len(symbols) / starts <= _MAX_RUN
