"""The candidates of a search, what came of each, and what the search may spend and has to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxslim.pipeline.recipe import Step, make_step

#: Channels that are kept are a multiple of this: int8 kernels that miss it are slower than float ones.
CHANNEL_MULTIPLE = 16
#: The ways to quantise: what people call each, and the options of its step.
QUANTIZATION_SCHEMES: dict[str, tuple[str, dict[str, str]]] = {
    "int8": ("int8", {}),
    "narrow": ("int8 + int4 linear", {"linear": "int4"}),
    "weights": ("int8 weights", {"weights": "int8"}),
}


@dataclass(frozen=True)
class Candidate:
    """One thing to try.

    Attributes:
        pruning_ratio: Of the multiplications, or of what ``of`` says, that goes of what exact steps leave.
        scheme: A key of :data:`QUANTIZATION_SCHEMES`, or None.
        recovery_seconds: Seconds of learning back; 0 for none.
        of: What ``pruning_ratio`` counts.
        low_rank: Whether pruning may put layers into cheaper forms.
    """

    pruning_ratio: float = 0.0
    scheme: str | None = "int8"
    recovery_seconds: float = 0.0
    of: str = "macs"
    low_rank: bool = False

    @property
    def name(self) -> str:
        """For people."""
        parts = [f"prune {self.pruning_ratio:.0%}" + " with low rank" * self.low_rank] if self.pruning_ratio else []
        parts += ["recover"] if self.recovery_seconds else []
        parts += [QUANTIZATION_SCHEMES[self.scheme][0]] if self.scheme else []
        return " + ".join(parts) or "lossless"

    def steps(self, placement: str, idle_share: float = 0.0) -> tuple[Step, ...]:
        """The recipe's steps; pruned weights are learned before they are quantised, unpruned ones after.

        Args:
            placement: Of int8 layers.
            idle_share: What exact steps take of what ``of`` counts; a prune step counts it towards its share.
        """
        recovery = [make_step("recover", seconds=self.recovery_seconds)] if self.recovery_seconds else []
        quantization: list[Step] = []
        if self.scheme:
            scheme_options = QUANTIZATION_SCHEMES[self.scheme][1]
            quantization = [make_step("quantize", **scheme_options, placement=placement)]
        if not self.pruning_ratio:
            return (make_step("simplify"), *quantization, *recovery)
        removed_share = round(idle_share + (1 - idle_share) * self.pruning_ratio, 4)
        low_rank_option = {"low_rank": True} if self.low_rank else {}
        pruning = make_step("prune", remove=removed_share, of=self.of, round_to=CHANNEL_MULTIPLE, **low_rank_option)
        return (make_step("simplify"), pruning, *recovery, *quantization)


@dataclass(frozen=True)
class CandidateResult:
    """What came of a candidate.

    Attributes:
        candidate: What was tried.
        drop: On the tune share; infinite when it failed.
        score: What the search wants large.
        seconds: What it took.
    """

    candidate: Candidate
    drop: float
    score: float
    seconds: float


@dataclass(frozen=True)
class SearchState:
    """What the search may spend and has to keep, at the moment it chooses the next candidate.

    Attributes:
        max_drop: The drop that is allowed; None allows any.
        seconds_left: Seconds left.
        recovery_seconds: Seconds of a full training, 0 where there can be none. One that is cut short takes a half or a
            quarter of it, so that a search that goes on later asks for what an earlier one may have done.
        of: What pruning counts.
        pruning_seconds: Seconds that pruning is predicted to take, for as long as nothing was pruned.
        has_int4_layers: Whether the model has linear layers that 4 bits are for.
    """

    max_drop: float | None
    seconds_left: float
    recovery_seconds: float = 0.0
    of: str = "macs"
    pruning_seconds: float = 0.0
    has_int4_layers: bool = False


def passes(outcome: CandidateResult, state: SearchState) -> bool:
    """Whether it drops no more than is allowed."""
    return math.isfinite(outcome.drop) and (state.max_drop is None or outcome.drop <= state.max_drop)
