"""One vector a sample: embeddings, and independent probabilities of any shape."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.name_hints import hints_at
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation

#: Vectors of fewer numbers are read number by number.
_MIN_EMBEDDING_SIZE, _MIN_UNIT_SIZE = 32, 8
#: Lengths of unit vectors miss one by as much.
_LENGTH_TOLERANCE = 0.01
#: Embeddings point in different directions: so much of their energy is what differs between samples.
_MIN_VARYING_SHARE = 0.15
#: Numbers beside each other in a series (a wave, a forecast, a spectrum) are alike; those of an embedding are not.
_MAX_NEIGHBOR_CORRELATION = 0.5
#: Decisions lie near 0 and 1: at most so many values lie between these two.
_UNDECIDED_RANGE, _MAX_UNDECIDED_SHARE = (0.1, 0.9), 0.3
#: or they are made to be probabilities, and what is found is rare.
_MAX_RARE_SHARE = 0.2
#: Something is found, and not everywhere: shares of values of at least a half.
_FOUND_SHARES = (5e-4, 0.95)


def recognize_unit_vectors(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Vectors of length one: embeddings, whatever else they look like."""
    vectors = _get_vectors(output, _MIN_UNIT_SIZE)
    if vectors is None:
        return None
    lengths = np.linalg.norm(vectors, axis=1)
    if np.abs(lengths - 1).max() > _LENGTH_TOLERANCE or not (output.ending.has_unit_length or vectors.min() < 0):
        return None
    return _make_embeddings(output, f"rows of {output.name} have unit length")


def recognize_embeddings(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Vectors of many numbers that point in different directions and are nothing else."""
    vectors = _get_vectors(output, _MIN_UNIT_SIZE)
    name = output.name
    if vectors is None or hints_at(name, "numbers"):
        return None
    if hints_at(name, "embeddings"):
        return _make_embeddings(output, "its name says so")
    if vectors.shape[1] < _MIN_EMBEDDING_SIZE or is_like_an_input(output, model) or is_series(vectors):
        return None
    energy = float(np.square(vectors).mean(axis=0).sum())
    if not energy or vectors.var(axis=0).sum() < _MIN_VARYING_SHARE * energy:
        return None
    reason = f"rows of {name} are {vectors.shape[1]} numbers that sum to nothing fixed and score no classes"
    return _make_embeddings(output, reason, f"numbers, each read by itself: --output {name} --metric variance")


def recognize_probabilities(output: OutputObservation, model: ModelObservation) -> OutputKind | None:
    """Independent probabilities: one or several a sample that decide, or one that the graph makes a probability."""
    if is_like_an_input(output, model) and output.squeezed_shape:
        return None
    reason = describe_decisions(output)
    if reason is None:
        return _recognize_undecided(output)
    return OutputKind((output.name,), "independent probabilities", ("f1",), reason, beside=("deviation",))


def _recognize_undecided(output: OutputObservation) -> OutputKind | None:
    """One value a sample or step that the graph makes a probability, though the values decide little or nothing here.

    What a model is asked does not depend on what it is shown: other data of the same model are judged alike.
    """
    name, made_by, places = output.name, output.ending.probability_op, output.squeezed_shape
    is_step = output.ending.has_free_length or (len(places) == 1 and output.shape[-1] == 1)
    if not made_by or not output.is_in_unit_range or (places and not is_step):
        return None
    found = float((output.values >= 0.5).mean())
    tells = _FOUND_SHARES[0] <= found <= _FOUND_SHARES[1]
    seldom = "hardly ever" if found < 0.5 else "nearly always"
    if tells:
        what = "often undecided on these samples, so the deviation gates too, mildly"
    else:  # F1 of nothing found is perfect, whatever the result is
        what = f"{seldom} a half or more on these samples, so the deviation gates too"
    reason = f"{name} is one value a {'step' if places else 'sample'}, made by {made_by}; {what}"
    return OutputKind(
        (name,), "independent probabilities", ("f1", "deviation"), reason, mild=("deviation",) if tells else (),
        alternative=f"numbers, if nobody asks for a yes or no: --output {name} --metric variance",
    )  # fmt: skip


def describe_decisions(output: OutputObservation) -> str | None:
    """Why the values decide: they lie near 0 or near 1, and there are some of each; None where they do not."""
    if not output.is_float or not output.is_in_unit_range:
        return None
    values = output.values
    low, high = _UNDECIDED_RANGE
    found = float((values >= 0.5).mean())
    has_both = values.min() < low and values.max() > high
    is_rare = bool(output.ending.probability_op) and found <= _MAX_RARE_SHARE
    is_decided = is_rare or float(((values > low) & (values < high)).mean()) <= _MAX_UNDECIDED_SHARE
    if not is_decided or not has_both or not _FOUND_SHARES[0] <= found <= _FOUND_SHARES[1]:
        return None
    made = f"made by {output.ending.probability_op}" if output.ending.probability_op else "between 0 and 1"
    return f"values of {output.name} are {made}, and {100 * found:.2g} % of them are at least a half"


def is_like_an_input(output: OutputObservation, model: ModelObservation) -> bool:
    """Whether the model gives back what it takes, as autoencoders and filters do: floats of an input's shape."""
    return any(rows.dtype.kind == "f" and rows.shape[1:] == output.shape for rows in model.inputs.values())


def is_series(vectors: np.ndarray) -> bool:
    """Whether numbers beside each other in ``vectors``, shape (n, D), are alike."""
    centered = vectors - vectors.mean(axis=0)
    energy = float(np.square(centered).sum())
    if vectors.shape[1] < 2 or not energy:
        return False
    return float((centered[:, 1:] * centered[:, :-1]).sum()) > _MAX_NEIGHBOR_CORRELATION * energy


def _get_vectors(output: OutputObservation, size: int) -> np.ndarray | None:
    """The samples as vectors, where they are vectors of at least ``size`` numbers and there are several of them."""
    if not output.is_float or len(output.squeezed_shape) != 1 or output.squeezed_shape[0] < size or len(output.rows) < 2:
        return None
    return output.vectors


def _make_embeddings(output: OutputObservation, reason: str, alternative: str | None = None) -> OutputKind:
    return OutputKind(
        (output.name,), "embeddings", ("similarity", "neighbors"), reason, beside=("variance",), alternative=alternative,
        squeezed=output.is_squeezed,
    )  # fmt: skip
