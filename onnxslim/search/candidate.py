"""The candidates of a search, what came of each, and what the search may spend and has to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from onnxslim.pipeline.recipe import Step, make_step

#: Channels that are kept are a multiple of this: int8 kernels that miss it are slower than float ones.
CHANNEL_MULTIPLE = 16
#: The ways to quantise: what people call each, and the options of its step.
QUANTIZATION_SCHEMES: dict[str, tuple[str, dict[str, str]]] = {
    "weights": ("int8 weights", {"weights": "int8"}),
    "int8": ("int8", {}),
    "static": ("int8, fixed ranges", {"activations": "static"}),
    "dynamic": ("int8, dynamic ranges", {"activations": "dynamic"}),
    "narrow": ("int8 + int4 linear", {"linear": "int4"}),
    "mixed": ("weights of mixed bits", {"weights": "mixed"}),
}
#: The schemes whose activations are int8 too.
ACTIVATION_SCHEMES = frozenset(QUANTIZATION_SCHEMES) - {"weights", "mixed"}
#: The schemes that have weights in fewer than 8 bits.
NARROW_SCHEMES = frozenset(("narrow", "mixed"))
#: How many times faster or smaller something has to be to be worth having.
MIN_GAIN = 1.02


@dataclass(frozen=True)
class Candidate:
    """One thing to try.

    Attributes:
        pruning_ratio: Of the multiplications, or of what ``of`` says, that goes of what exact steps leave.
        scheme: A key of :data:`QUANTIZATION_SCHEMES`, or None.
        recovery_seconds: Seconds of learning back; 0 for none.
        of: What ``pruning_ratio`` counts.
        low_rank: Whether pruning may put layers into cheaper forms.
        milder: How many points further down the front of placements this is than what the step chose by itself; negative
            where it is further up.
    """

    pruning_ratio: float = 0.0
    scheme: str | None = "int8"
    recovery_seconds: float = 0.0
    of: str = "macs"
    low_rank: bool = False
    milder: int = 0

    @property
    def name(self) -> str:
        """For people."""
        parts = [f"prune {self.pruning_ratio:.0%}" + " with low rank" * self.low_rank] if self.pruning_ratio else []
        parts += ["recover"] if self.recovery_seconds else []
        parts += [QUANTIZATION_SCHEMES[self.scheme][0]] if self.scheme else []
        placement = f" ({'milder' if self.milder > 0 else 'bolder'} by {abs(self.milder)})" if self.milder else ""
        return (" + ".join(parts) or "lossless") + placement

    def steps(
        self,
        placement: str,
        idle_share: float = 0.0,
        pruning_samples: int | None = None,
        left_out: tuple[str, ...] = (),
    ) -> tuple[Step, ...]:
        """The recipe's steps; pruned weights are learned before they are quantised, unpruned ones after.

        Args:
            placement: Of int8 layers.
            idle_share: What exact steps take of what ``of`` counts; a prune step counts it towards its share.
            pruning_samples: How many samples there is time to prune with; None for all.
            left_out: Exact rewrites that are slower here.
        """
        simplification = make_step("simplify", leave_out=left_out) if left_out else make_step("simplify")
        recovery = [make_step("recover", seconds=self.recovery_seconds)] if self.recovery_seconds else []
        quantization: list[Step] = []
        if self.scheme:
            scheme_options = QUANTIZATION_SCHEMES[self.scheme][1]
            quantization = [make_step("quantize", **scheme_options, placement=placement)]
        if not self.pruning_ratio:
            return (simplification, *quantization, *recovery)
        removed_share = round(idle_share + (1 - idle_share) * self.pruning_ratio, 4)
        more: dict[str, Any] = {"low_rank": True} if self.low_rank else {}
        more |= {} if pruning_samples is None else {"samples": pruning_samples}
        pruning = make_step("prune", remove=removed_share, of=self.of, round_to=CHANNEL_MULTIPLE, **more)
        return (simplification, pruning, *recovery, *quantization)

    def convert_share(self, share: float, asked: float) -> float:
        """``share`` of the whole model as a pruning ratio; for this one the step was ``asked`` for a share of the whole."""
        return 1 - (1 - share) * (1 - self.pruning_ratio) / (1 - asked)


@dataclass(frozen=True)
class CandidateResult:
    """What came of a candidate.

    Attributes:
        candidate: What was tried.
        drop: On the tune share, with what is allowed for its uncertainty; infinite when it failed.
        score: What the search wants large.
        seconds: What it took.
        speedup: Times faster than the original, as far as its timing proves; NaN where it was not timed.
        shrinkage: Times smaller than the original.
        activations: ``static`` or ``dynamic`` where its activations are int8, as the step chose.
        gave_way: Whether layers went back to float for the drop.
        judging_seconds: What of its time went to timing and judging it.
        survey_seconds: What of its time went to finding out what may be pruned, which others of the kind need not do again.
        gains_by_scheme: Whether its quantize step found anything to do that gains something.
        prunable_share: The most that can be pruned of what exact steps leave, where less can than was asked for; else None.
        reached_share: What was pruned of what exact steps leave; None where nothing was or nobody counted it.
    """

    candidate: Candidate
    drop: float
    score: float
    seconds: float
    speedup: float = math.nan
    shrinkage: float = math.nan
    activations: str | None = None
    gave_way: bool = False
    judging_seconds: float = 0.0
    survey_seconds: float = 0.0
    gains_by_scheme: bool = True
    prunable_share: float | None = None
    reached_share: float | None = None

    @property
    def reach(self) -> float:
        """Up to which share it stands for: the cheapest cut of at least what was asked is that of every share up to what it
        took.
        """
        return max(self.candidate.pruning_ratio, self.reached_share or 0.0)

    @property
    def gains(self) -> bool:
        """Whether it is faster or smaller than the original by what is worth having; where nothing is known, it is."""
        return math.isnan(self.shrinkage) or is_gain(self.speedup, self.shrinkage)

    @property
    def gains_time(self) -> bool:
        """Whether it is faster; where nothing is known, it is."""
        return not self.speedup < MIN_GAIN


@dataclass(frozen=True)
class SearchState:
    """What the search may spend and has to keep, at the moment it chooses the next candidate.

    Attributes:
        max_drop: The drop that is allowed; None allows any.
        seconds_left: Seconds left.
        recovery_seconds: Seconds of a full training, 0 where there can be none. One that is cut short takes a half or a
            quarter of it, so that a search that goes on later asks for what an earlier one may have done.
        of: What pruning counts.
        reserved_seconds: Seconds after those, which are kept for the confirmation.
        pruning_seconds: Seconds that pruning is predicted to take, for as long as nothing was pruned.
        has_int4_layers: Whether the model has linear layers that 4 bits are for.
        has_mixed_weights: Whether bits for each weight are worth trying.
        has_dynamic_layers: Whether it has layers whose inputs can be quantised as they come.
        can_prune: Whether it has layers that channels could go from.
    """

    max_drop: float | None
    seconds_left: float
    recovery_seconds: float = 0.0
    of: str = "macs"
    reserved_seconds: float = 0.0
    pruning_seconds: float = 0.0
    has_int4_layers: bool = False
    has_mixed_weights: bool = False
    has_dynamic_layers: bool = False
    can_prune: bool = True


def is_gain(speedup: float, shrinkage: float) -> bool:
    """Whether a model so many times faster (NaN where no clock counts) or smaller is worth having for that.

    One that is slower or larger beside that misses a gate.
    """
    return speedup >= MIN_GAIN or shrinkage >= MIN_GAIN


def passes(outcome: CandidateResult, state: SearchState) -> bool:
    """Whether it drops no more than is allowed."""
    return math.isfinite(outcome.drop) and (state.max_drop is None or outcome.drop <= state.max_drop)
