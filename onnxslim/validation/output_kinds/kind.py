"""What an output was taken for, with the reason, and what that makes it be judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

#: How labels decide: alone, together with the metrics that compare with the original, or only told beside those.
LabelWeight = Literal["alone", "joined", "told"]


#: What is fed back, and what stands beside what people read, may lose so many times as much.
LENIENCY = 4.0
#: Of answers so many times as many may change as the expected drop of right ones may be: users bear twice as many, and a
#: quarter of that is kept for what some hundred samples cannot tell, and another size of the batch rounds otherwise.
GUARD_LENIENCY = 1.5


@dataclass(frozen=True)
class OutputKind:
    """One output (or several that only mean something together) and what it is.

    Attributes:
        outputs: Names; more than one where they are read together, as boxes and their scores are.
        name: What people call it: ``class scores``, ``embeddings``.
        gates: Metrics against the original that a result must pass; none where nobody reads the output.
        reason: Why it was taken for that: ``rows of sentence_embedding have unit length``.
        beside: Metrics that are told and gate nothing.
        label_gates: Metrics that the labels of the data decide, where they fit this output.
        label_guards: Of the gates those that guard :attr:`label_gates` where labels alone decide: what they count may stay
            while much of what people see changes. What was seen counts, and they lose what they may without labels.
        alternative: What else it could have been taken for, in a sentence, or None where nothing else was likely.
        mild: Of the gates those that may lose :data:`LENIENCY` times as much, because another sees better what people do.
        guards: Of the gates those that guard another, which trusts the original's own probabilities: they may lose
            :data:`GUARD_LENIENCY` times as much, by what was seen, and labels that judge take their place.
        leniency: How many times as much may be lost as of what people read themselves.
        squeezed: Axes of size 1 behind the first are left out before a metric sees it.
        reads_labels: The labels of the data are about this output.
        blank_last: The last class goes before the first, where CTC's metric expects the blank.
        classes_last: The classes stand on the last axis, as metrics of tokens expect; ``agreement`` gets them at place 1.
        channels_last: The last axis goes to place 1 before a metric sees it, as metrics of maps expect.
    """

    outputs: tuple[str, ...]
    name: str
    gates: tuple[str, ...]
    reason: str
    beside: tuple[str, ...] = ()
    label_gates: tuple[str, ...] = ()
    label_guards: tuple[str, ...] = ()
    alternative: str | None = None
    mild: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    leniency: float = 1.0
    squeezed: bool = False
    classes_last: bool = False
    channels_last: bool = False
    reads_labels: bool = False
    blank_last: bool = False

    @property
    def title(self) -> str:
        """The outputs, as a sentence begins with them."""
        return (
            " and ".join(self.outputs) if len(self.outputs) < 4 else f"{self.outputs[0]} and {len(self.outputs) - 1} others"
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that is to be measured, each once, what gates first."""
        return tuple(dict.fromkeys((*self.gates, *self.beside)))

    @property
    def all_metrics(self) -> tuple[str, ...]:
        """:attr:`metrics` and those that only labels decide."""
        return tuple(dict.fromkeys((*self.label_gates, *self.metrics)))

    def get_leniency(self, metric: str) -> float:
        """How many times as much ``metric`` may lose here as where people read what it judges."""
        guard_leniency = GUARD_LENIENCY if metric in self.guards and metric not in self.label_guards else 1.0
        return self.leniency * guard_leniency * (LENIENCY if metric in self.mild else 1.0)

    def drop_guards(self) -> OutputKind:
        """The same kind with its :attr:`guards` told beside what gates, for labels that judge where there are any."""
        if not self.guards or not self.label_gates:
            return self
        gates = tuple(gate for gate in self.gates if gate not in self.guards)
        return replace(self, gates=gates, beside=tuple(dict.fromkeys((*self.beside, *self.guards))), guards=())

    def weigh_labels(self, weight: LabelWeight) -> OutputKind:
        """The same kind with its :attr:`label_gates` put among what gates, or beside it."""
        if not self.label_gates:
            return self
        if weight == "told":
            return replace(self, beside=(*self.label_gates, *self.beside))
        kind, label_gates = self.drop_guards(), self.label_gates
        if weight == "alone":
            gates = (*label_gates, *self.label_guards)
            beside = tuple(name for name in (*kind.beside, *kind.gates) if name not in gates)
            return replace(kind, gates=gates, beside=beside, guards=self.label_guards)
        return replace(kind, gates=tuple(dict.fromkeys((*kind.gates, *label_gates))))

    def arrange(self, rows: np.ndarray) -> np.ndarray:
        """``rows`` of the output, the sample on the first axis, as the metrics of this kind read them."""
        if self.squeezed:
            rows = rows.reshape(len(rows), *(size for size in rows.shape[1:] if size != 1))
        if self.blank_last:
            rows = np.roll(rows, 1, axis=-1)
        return np.moveaxis(rows, -1, 1) if self.channels_last and rows.ndim > 2 else rows

    def arrange_for(self, metric: str, rows: np.ndarray) -> np.ndarray:
        """``rows`` that :meth:`arrange` gave, as ``metric`` reads them: answers are taken along axis 1."""
        return np.moveaxis(rows, -1, 1) if self.classes_last and metric == "agreement" and rows.ndim > 2 else rows

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "outputs": list(self.outputs),
            "kind": self.name,
            "gates": list(self.gates),
            "beside": list(self.beside),
            "reason": self.reason,
            "alternative": self.alternative,
        }
