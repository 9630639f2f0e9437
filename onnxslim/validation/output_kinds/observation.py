"""What a model's outputs look like on some samples: the facts that recognizers go by. Arrays in, facts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy

from onnxslim.core.errors import OnnxslimError
from onnxslim.validation.output_kinds.graph_ending import GraphEnding

#: Rows of scores that are looked at, at most.
_MAX_SCORE_ROWS = 4096
#: Sums of probabilities miss one by as much.
_SUM_TOLERANCE = 2e-3


@dataclass(frozen=True)
class ScoreFacts:
    """What rows of probabilities, shape (m, C), say of the answers in them.

    Attributes:
        confidence: The mean probability of the best.
        margin: By how much that exceeds the mean probability of an answer given to another row: what a model would lose
            that always gives the same answers whatever it is shown. Where it is next to nothing, comparing answers can
            prove nothing.
        top_share: Share of the rows that have the most frequent answer.
        blank_share: Share of the rows that answer class 0.
    """

    confidence: float
    margin: float
    top_share: float
    blank_share: float


def describe_scores(probabilities: np.ndarray) -> ScoreFacts:
    """The facts of ``probabilities``, shape (m, C)."""
    answers = probabilities.argmax(axis=1)
    shares = np.bincount(answers, minlength=probabilities.shape[1]) / len(answers)
    confidence = float(probabilities.max(axis=1).mean())
    return ScoreFacts(
        confidence, confidence - float(shares @ probabilities.mean(axis=0)), float(shares.max()), float(shares[0])
    )


@dataclass(frozen=True)
class OutputObservation:
    """One output of the original on some samples.

    Attributes:
        name: Of the output.
        rows: What it gave for each sample, without a sample axis.
        ending: How the graph makes it.
    """

    name: str
    rows: tuple[np.ndarray, ...]
    ending: GraphEnding = field(default_factory=GraphEnding)

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        return self.rows[0].dtype

    @property
    def is_float(self) -> bool:
        """Whether the values are floats."""
        return self.dtype.kind == "f"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first sample."""
        return self.rows[0].shape

    @cached_property
    def squeezed_shape(self) -> tuple[int, ...]:
        """:attr:`shape` without axes of size 1."""
        return tuple(size for size in self.shape if size != 1)

    @property
    def is_squeezed(self) -> bool:
        """Whether leaving out axes of size 1 changes the shape."""
        return self.squeezed_shape != self.shape

    @cached_property
    def has_fixed_shape(self) -> bool:
        """Whether all samples have one shape."""
        return len({row.shape for row in self.rows}) == 1

    @cached_property
    def values(self) -> np.ndarray:
        """The finite values of all samples, float64, flat."""
        values = np.concatenate([row.reshape(-1) for row in self.rows]).astype(np.float64)
        return np.asarray(values[np.isfinite(values)])

    @cached_property
    def low(self) -> float:
        """The least finite value."""
        return float(self.values.min()) if self.values.size else 0.0

    @cached_property
    def high(self) -> float:
        """The largest finite value."""
        return float(self.values.max()) if self.values.size else 0.0

    @cached_property
    def is_in_unit_range(self) -> bool:
        """Whether all values lie between 0 and 1."""
        return bool(self.values.size) and self.low >= -1e-6 and self.high <= 1 + 1e-3

    @cached_property
    def vectors(self) -> np.ndarray | None:
        """The samples as float64 vectors, shape (n, D); None where their shapes differ."""
        if not self.has_fixed_shape:
            return None
        vectors = np.stack([row.reshape(-1) for row in self.rows]).astype(np.float64)
        return np.asarray(np.nan_to_num(vectors, posinf=0.0, neginf=0.0))

    def scores(self, axis: int) -> np.ndarray:
        """Some of the rows along ``axis`` of a sample, of all samples: float64 (m, C); none where C differs by sample."""
        if len({row.shape[axis] for row in self.rows}) > 1:
            return np.zeros((0, self.shape[axis]))
        rows = np.concatenate([np.moveaxis(row, axis, -1).reshape(-1, row.shape[axis]) for row in self.rows])
        step = max(1, -(-len(rows) // _MAX_SCORE_ROWS))  # a model may find nothing in any sample
        rows = rows[::step].astype(np.float64)
        return np.asarray(rows[np.isfinite(rows).all(axis=1)])

    def probabilities(self, axis: int) -> tuple[np.ndarray, str] | None:
        """The rows along ``axis`` as probabilities, and what they are: None where they neither sum to one nor are logarithms
        of what does.
        """
        rows = self.scores(axis)
        if not len(rows) or rows.shape[1] < 2:
            return None
        if rows.min() >= -1e-6 and np.abs(rows.sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
            return rows, "probabilities"
        if rows.max() <= 1e-6 and np.abs(np.exp(rows).sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
            return np.exp(rows), "log-probabilities"
        return None

    def softmax(self, axis: int) -> np.ndarray:
        """The rows along ``axis`` taken for logits: their softmax, shape (m, C)."""
        return np.asarray(scipy.special.softmax(self.scores(axis), axis=1))


@dataclass(frozen=True)
class ModelObservation:
    """All outputs of a model on some samples, and what they came from.

    Attributes:
        outputs: By name, in the model's order.
        inputs: The inputs of those samples, by name, the sample on the first axis where they have one.
        labels: Of the data that will judge, or None.
        state: Output → the input that it is fed back to.
        refused: Outputs that cannot be judged, and why: they are no tensors, or have no row a sample.
    """

    outputs: Mapping[str, OutputObservation]
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    state: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, OnnxslimError] = field(default_factory=dict)

    @property
    def sample_count(self) -> int:
        """How many samples were looked at."""
        return len(next(iter(self.outputs.values())).rows)
