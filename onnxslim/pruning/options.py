"""What may be asked of the prune step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Bytes, Notation, QuantityError, Seed, Share
from onnxslim.pruning.importance.criteria import CRITERIA
from onnxslim.pruning.sparsity.pattern import NOTATIONS, parse_sparsity

BUDGET_METRICS = ("params", "macs", "latency")
#: How a budget is given.
BUDGET_HINT = "--remove 30% of the time (--of macs or params: of those), --max-size, --threshold, --redundancy or --sparsity"


def _check_sparsity(value: object) -> float | str:
    """A recipe's sparsity as it is, unless it is no share, and no text either: YAML reads a bare 2:4 as 124, a time."""
    if isinstance(value, str) or (isinstance(value, float) and value < 1):
        return value
    raise QuantityError(f"expected {NOTATIONS}", "a pattern is written in quotes: '2:4'")


@dataclass(frozen=True)
class PruneDecision:
    """What a prune step decided.

    Attributes:
        cuts: As :class:`PruneOptions` takes them, one entry a round.
        by_clock: Whether a clock had a say, by times that were measured or a deadline that left something out, so that only
            ``cuts`` repeat it.
        of: What the share to remove was of; None where no share was given.
        survey_seconds: What finding out what may go took, which another pruning of the same model need not do again.
    """

    cuts: tuple[list[list[int]], ...]
    by_clock: bool = False
    of: str | None = None
    survey_seconds: float = 0.0


@dataclass(frozen=True)
class PruneOptions:
    """Options of :func:`onnxslim.pruning.step.prune`: one budget (``remove``, ``max_size``, ``threshold``, ``redundancy``),
    or ``sparsity``, which may also go with one.

    Attributes:
        remove: Share of the model's total to remove, in (0, 1). In a recipe the total is that of the simplified model with
            the channels that simplification took, which count towards the share.
        of: What ``remove`` counts: params, macs, or latency as measured on this machine; None: latency where there are
            samples to time the model on and the share is long enough for the clock to tell, else params.
        max_size: Bytes the model may have when saved.
        threshold: Remove every unit that scores less than this share of its family's best, in (0, 1).
        redundancy: Remove everything as long as the layers that read it lose no more than this share of their output's
            variance once repaired, in (0, 1).
        criterion: What ranks the units of a family: a key of :data:`onnxslim.pruning.importance.criteria.CRITERIA`.
        round_to: What kept channels are a multiple of; ``auto`` makes no cut that saves no time, by times measured on this
            machine, or where there is nothing to time or it is too short for the clock, by blocks of eight.
        sparsity: Weights to set to zero as well, a share in (0, 1) or as :mod:`onnxslim.pruning.sparsity.pattern` writes it;
            given without a budget, no channel goes.
        low_rank: Also put layers into cheaper forms (:mod:`onnxslim.pruning.low_rank.factorization`), where that does
            less harm than removing channels, and make one layer of two with nothing between them.
        uniform: Take the same share everywhere, for comparison (of channels; of weights too).
        rounds: Prune in so many steps, repairing and scoring again after each.
        min_layer_params: Leave layers with fewer parameters alone.
        exclude: Regular expressions of node names to leave alone.
        samples: Score and repair with so many of the samples, drawn by ``seed``; None: with all.
        seed: Of every draw.
        cuts: The decision of an earlier run, whose clock decided it: what went in each round, from each family, of the
            blocks, and of the layers with cheaper forms.
    """

    remove: Share | None = None
    of: str | None = None
    max_size: Bytes | None = None
    threshold: Share | None = None
    redundancy: Share | None = None
    criterion: str = "obs"
    round_to: str | int = "auto"
    sparsity: Annotated[float | str, Notation(_check_sparsity)] | None = None
    low_rank: bool = False
    uniform: bool = False
    rounds: int = 1
    min_layer_params: int = 0
    exclude: Sequence[str] = ()
    samples: int | None = None
    seed: Seed = 0
    cuts: Sequence[Sequence[Sequence[int]]] | None = None

    def __post_init__(self) -> None:
        shares = {"remove": self.remove, "threshold": self.threshold, "redundancy": self.redundancy}
        for name, share in shares.items():
            if share is not None and not 0 < share < 1:
                raise UsageError(f"--{name} {share:g}: expected a share above 0 % and below 100 %")
        if self.max_size is not None and self.max_size <= 0:
            raise UsageError(f"--max-size {self.max_size}: expected a size above 0")
        given_budgets = [name for name, value in {**shares, "max-size": self.max_size}.items() if value is not None]
        if len(given_budgets) > 1:
            raise UsageError(f"--{given_budgets[0]} and --{given_budgets[1]} are two budgets", hint="give one of them")
        if not given_budgets and self.sparsity is None:
            raise UsageError("no budget: prune has to be told how much goes", hint=BUDGET_HINT)
        if self.of is not None and self.of not in BUDGET_METRICS:
            raise UsageError(f"--of {self.of}: unknown", hint=f"one of {', '.join(BUDGET_METRICS)}")
        if self.criterion not in CRITERIA:
            raise UsageError(f"--criterion {self.criterion}: unknown", hint=f"one of {', '.join(CRITERIA)}")
        if self.round_to != "auto" and (not isinstance(self.round_to, int) or self.round_to < 1):
            raise UsageError(f"--round-to {self.round_to}: expected auto or a number of channels, such as 8")
        if self.sparsity is not None:
            parse_sparsity(self.sparsity)
        if self.rounds < 1:
            raise UsageError(f"rounds {self.rounds}: expected at least 1")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"samples {self.samples}: expected at least 1")
        if self.min_layer_params < 0:
            raise UsageError(f"--min-layer-params {self.min_layer_params}: expected 0 or more")

    @property
    def has_budget(self) -> bool:
        """Whether there is a total to stay below, not a limit for each unit."""
        return self.remove is not None or self.max_size is not None

    @property
    def channels(self) -> bool:
        """Whether channels go."""
        return self.has_budget or self.threshold is not None or self.redundancy is not None

    @property
    def reads_clock(self) -> bool:
        """Whether times decide what goes, where the model can be timed."""
        return self.channels and self.cuts is None and (self.round_to == "auto" or self.counts_time)

    @property
    def counts_time(self) -> bool:
        """Whether the budget is of time, where the model can be timed."""
        return self.remove is not None and self.of in (None, "latency")
