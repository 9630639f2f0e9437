"""What may be tried, what came of it, and what a search is for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxslim.recipe import Step, step

#: Channels that are kept are a multiple of this: int8 kernels that miss it are slower than float ones.
WIDTH = 16
#: The ways to quantise: what people call each, and the options of its step.
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "int8": ("int8", {}),
    "narrow": ("int8 + int4 linear", {"linear": "int4"}),
    "weights": ("int8 weights", {"weights": "int8"}),
}


@dataclass(frozen=True)
class Point:
    """One thing to try.

    Attributes:
        share: Of the multiplications, or of what ``of`` says, that goes.
        quantised: A key of :data:`WAYS`, or None.
        learning: Seconds of learning back; 0 for none.
        of: What ``share`` counts.
        low_rank: Whether pruning may put layers into cheaper forms.
    """

    share: float = 0.0
    quantised: str | None = "int8"
    learning: float = 0.0
    of: str = "macs"
    low_rank: bool = False

    @property
    def name(self) -> str:
        """For people."""
        parts = [f"prune {self.share:.0%}" + " with low rank" * self.low_rank] if self.share else []
        parts += ["recover"] if self.learning else []
        parts += [WAYS[self.quantised][0]] if self.quantised else []
        return " + ".join(parts) or "lossless"

    def steps(self, placement: str) -> tuple[Step, ...]:
        """The recipe's steps; pruned weights are learned before they are quantised, unpruned ones after."""
        cheaper = {"low_rank": True} if self.low_rank else {}
        pruned = [step("prune", remove=self.share, of=self.of, round_to=WIDTH, **cheaper)] if self.share else []
        learned = [step("recover", seconds=self.learning)] if self.learning else []
        quantised: list[Step] = []
        if self.quantised:
            how = WAYS[self.quantised][1]
            quantised = [step("quantize", **how, **({} if "weights" in how else {"placement": placement}))]
        order = [*pruned, *learned, *quantised] if self.share else [*quantised, *learned]
        return (step("simplify"), *order)


@dataclass(frozen=True)
class Outcome:
    """What came of a point.

    Attributes:
        point: What was tried.
        drop: On the tune share; infinite when it failed.
        score: What the search wants large.
        seconds: What it took.
    """

    point: Point
    drop: float
    score: float
    seconds: float


@dataclass(frozen=True)
class Wanted:
    """What the search is for.

    Attributes:
        limit: The drop that is allowed; None allows any.
        left: Seconds left.
        learning: Seconds of a full training, 0 where there can be none. One that is cut short takes a half or a quarter of
            it, so that a search that goes on later asks for what an earlier one may have done.
        of: What pruning counts.
        pruning: Seconds that pruning is predicted to take, for as long as nothing was pruned.
        narrow: Whether the model has linear layers that 4 bits are for.
    """

    limit: float | None
    left: float
    learning: float = 0.0
    of: str = "macs"
    pruning: float = 0.0
    narrow: bool = False


def passes(outcome: Outcome, wanted: Wanted) -> bool:
    """Whether it drops no more than is allowed."""
    return math.isfinite(outcome.drop) and (wanted.limit is None or outcome.drop <= wanted.limit)
