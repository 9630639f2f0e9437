"""How many times what is allowed a quantised model loses: by the metric's drop where one judges, else by SQNR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxslim.quantization.context import DropOverLimit, QuantizeContext
from onnxslim.quantization.float_weights import Variant, get_borne_error
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.sqnr_floor import get_max_error, get_min_sqnr_db

#: Of the drop that is allowed, what a choice among many may lose where one of them loses no more: the one that is just good
#: enough on these samples is not on others.
MAX_DROP_SHARE = 0.6
#: Weights in int8 that add no more than this share to what is lost are not what a metric minds.
MAX_HARMLESS_GROWTH = 0.25


@dataclass(frozen=True)
class JudgedVariant:
    """The variant that is taken, and what it loses beside what is allowed."""

    variant: Variant
    loss: DropOverLimit

    @property
    def excess(self) -> float:
        """How many times what is allowed it loses, as a choice counts it."""
        return self.loss.counted


class Judge:
    """Judges the variants of one placement.

    Args:
        context: Has the judge of drops, or none.
        options: Say which SQNR is asked for.
    """

    def __init__(self, context: QuantizeContext, options: QuantizeOptions) -> None:
        self._drop_over_limit, self._options = context.drop_over_limit, options

    @property
    def is_drop_judged(self) -> bool:
        """Whether a metric judges, not the SQNR alone."""
        return self._drop_over_limit is not None

    @property
    def choice_share(self) -> float:
        """Of what is allowed, what one of many may lose: a share of a drop, since few samples tell that."""
        return MAX_DROP_SHARE if self.is_drop_judged else 1.0

    @property
    def why_float(self) -> str:
        """What takes ops back to float, as a message says it."""
        if self.is_drop_judged:
            return "the ops that drop the metric by more than --max-drop"
        return f"the ops that take an output below {get_min_sqnr_db(self._options):g} dB of SQNR"

    def judge(self, variants: Sequence[Variant]) -> JudgedVariant:
        """The first of ``variants`` that is good enough, the smallest coming first, or the last, which loses least."""
        large, max_error = variants[-1], get_max_error(self._options)
        for variant in variants[:-1]:
            judged = JudgedVariant(variant, self._measure_loss(variant))
            if self.is_drop_judged:
                if judged.excess <= 1 or is_harmless(variant, large):
                    return judged
            elif variant.worst_error <= get_borne_error(large.worst_error, max_error):
                return judged
        return JudgedVariant(large, self._measure_loss(large))

    def measure_excess(self, variant: Variant, large: Variant) -> float:
        """How many times what it may for weights smaller than those of ``large`` ``variant`` loses: where no metric judges,
        of what they may add.
        """
        excess = self._measure_loss(variant).counted
        if self.is_drop_judged:
            return excess
        borne = get_borne_error(large.worst_error, get_max_error(self._options))
        return max(excess, variant.worst_error / max(borne, 1e-30))

    def take_smallest(self, variants: Sequence[Variant]) -> Variant:
        """The one of ``variants`` for a placement that is given, as one is whose drop was refused on samples that are not
        here: smaller weights where they add next to nothing, whatever drop is seen. One is not judged.
        """
        if len(variants) > 1 and not self.is_drop_judged:
            return self.judge(variants).variant
        return variants[0] if is_harmless(variants[0], variants[-1]) else variants[-1]

    def _measure_loss(self, variant: Variant) -> DropOverLimit:
        excess = 0.0
        if self._drop_over_limit is None or self._options.min_sqnr is not None:
            excess = variant.worst_error / max(get_max_error(self._options), 1e-30)
        if self._drop_over_limit is None:
            return DropOverLimit(excess, excess)
        return self._drop_over_limit(variant.model).at_least(excess)


def is_harmless(variant: Variant, large: Variant) -> bool:
    """Whether the weights that ``variant`` has in int8 and ``large`` in float are not what a metric minds."""
    return variant.worst_error <= (1 + MAX_HARMLESS_GROWTH) * large.worst_error
