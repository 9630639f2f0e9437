"""The teacher, and the judge: both through the runtime that will serve the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from onnxslim.errors import InvalidModelError
from onnxslim.graph import shapes
from onnxslim.recover.losses import is_scores
from onnxslim.recover.pool import Feeds, Pool
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.taps import tap
from onnxslim.validate.fidelity import Fidelity

#: Samples in one run of the judge.
_BATCH = 64


class Source:
    """Tensors of a model, by name, as the runtime computes them."""

    def __init__(self, model: ir.Model, names: Sequence[str], config: SessionConfig) -> None:
        self.names = list(names)
        self._session = Session(tap(model, self.names, only=True), config) if self.names else None

    def __call__(self, feeds: Feeds) -> Feeds:
        """The tensors for one batch."""
        if self._session is None:
            return {}
        return self._session.run({name: feeds[name] for name in self._session.inputs}, self.names)


@dataclass(frozen=True)
class Score:
    """How near a model is to its teacher, on samples it did not learn from.

    Attributes:
        error: Σ (a - b)² / Σ a² over the float outputs, their mean; 0 is equal.
        agreed: Whether each sample's largest class score is the teacher's, bool (n,); None without class scores.
        right: Whether it is the label; None without labels.
        divergence: KL(teacher ‖ student) of the class scores, nats, the mean over samples; None without them.
    """

    error: float
    agreed: np.ndarray | None = None
    right: np.ndarray | None = None
    divergence: float | None = None

    def better_than(self, other: Score) -> bool:
        """Whether this is an improvement on the same samples.

        The samples that are right, or agreed on, decide if they differ by more than chance would have it (McNemar: gained
        and lost ones differ by more than the root of their sum). If not, the divergence of the class scores does: repair
        leaves the least squared error that there is, and answers come back while that rises. Without class scores it is the
        error.
        """
        if not np.isfinite(self.error):
            return False
        mine, theirs = ((s.agreed if s.right is None else s.right) for s in (self, other))
        if mine is not None and theirs is not None:
            gained, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
            if abs(gained - lost) > np.sqrt(gained + lost):
                return gained > lost
        if self.divergence is not None and other.divergence is not None:
            return self.divergence < other.divergence
        return self.error < other.error

    def as_json(self) -> dict[str, float | None]:
        """For the account."""
        shares = {"agreement": self.agreed, "top1": self.right}
        counted = {k: None if v is None else float(v.mean()) for k, v in shares.items()}
        return {"error": self.error, "divergence": self.divergence, **counted}


class Judge:
    """The teacher's outputs on held-back samples, kept, and models scored against them."""

    def __init__(self, teacher: ir.Model, held: Pool, config: SessionConfig) -> None:
        self._held, self._config = held, config
        self._session = Session(teacher, config)
        self._expected = [self._session.run(feeds) for feeds, _ in held.all(_BATCH)]
        self._floats = [n for n in self._session.outputs if np.asarray(self._expected[0][n]).dtype.kind == "f"]
        first = {name: torch.from_numpy(self._expected[0][name]) for name in self._floats}
        self._scores = next((name for name, tensor in first.items() if is_scores(tensor)), None)

    def score(self, model: ir.Model) -> Score:
        """Run ``model`` on the held-back samples."""
        session = Session(model, self._config)
        moved = {name: Fidelity() for name in self._floats}
        agreed: list[np.ndarray] = []
        right: list[np.ndarray] = []
        for (feeds, labels), expected in zip(self._held.all(_BATCH), self._expected, strict=True):
            found = session.run(feeds)
            for name, fidelity in moved.items():
                fidelity.add(expected[name], found[name])
            if self._scores is not None:
                guess = found[self._scores].argmax(1)
                agreed.append(guess == expected[self._scores].argmax(1))
                if labels is not None:
                    right.append(guess == labels.reshape(-1))
        errors = [math.inf if f.broken else f.noise / max(f.signal, 1e-12) for f in moved.values()]
        as_teacher, as_label = (np.concatenate(parts) if parts else None for parts in (agreed, right))
        divergence = None if self._scores is None else moved[self._scores].kl / moved[self._scores].rows
        return Score(float(np.mean(errors)), as_teacher, as_label, divergence)


def check_same_interface(model: ir.Model, teacher: ir.Model) -> None:
    """Raise unless both models take and give the same tensors.

    Raises:
        InvalidModelError: Names the first that differs.
    """
    for kind, mine, theirs in (
        ("input", shapes.inputs(model), shapes.inputs(teacher)),
        ("output", list(model.graph.outputs), list(teacher.graph.outputs)),
    ):
        ours, others = {v.name: v for v in mine}, {v.name: v for v in theirs}
        for name in [*ours, *others]:
            if name not in ours or name not in others:
                where = "teacher" if name not in others else "student"
                raise InvalidModelError(f"the {where} has no {kind} {name}: it cannot be learnt from")
        for name, value in ours.items():
            a, b = shapes.dims(value), shapes.dims(others[name])
            clash = a is not None and b is not None and (len(a) != len(b) or _clash(a, b))
            if value.dtype != others[name].dtype or clash:
                raise InvalidModelError(
                    f"{kind} {name} is {value.dtype} {a} in the student and {others[name].dtype} {b} in the teacher"
                )


def _clash(a: tuple[int | str | None, ...], b: tuple[int | str | None, ...]) -> bool:
    return any(x != y for x, y in zip(a, b, strict=True) if isinstance(x, int) and isinstance(y, int))
