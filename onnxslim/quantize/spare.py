"""What stays in float because an output would lose too much: as few ops as it takes, the costliest first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.account import Account
from onnxslim.errors import GateError
from onnxslim.quantize.choose import Chooser
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.plan import Unit, make_plan

#: Decibels that every output keeps when nobody says: what is left is a tenth of the signal's amplitude.
MIN_SQNR = 20.0
#: What the next set may lose, as a share of what would just do; and of the last set's loss, the most and the least that one
#: step may leave: mending varies from set to set, so neither a crawl nor a leap is wanted.
_MARGIN, _SLOWEST, _FASTEST = 0.9, 0.75, 0.25


@dataclass(frozen=True)
class Reached:
    """What came of an attempt.

    Attributes:
        int8: The units that ran in int8.
        error: The worst output's relative squared error.
    """

    int8: frozenset[str]
    error: float


def attempts(
    chooser: Chooser,
    found: Sequence[Unit],
    able: frozenset[str],
    method: str,
    reached: Sequence[Reached],
    options: QuantizeOptions,
    account: Account,
) -> Iterator[tuple[frozenset[str], str]]:
    """Units to keep in float, and the range method: none at first; when that costs an output too much, what costs most.

    Mending takes away a good part of what outputs lose by rounding alone. How much, each attempt shows: the next set has to
    lose as much less than the last as that was too much.

    Args:
        chooser: Knows what rounding alone costs.
        found: All units.
        able: Those that can be int8.
        method: The best range method when all of them are.
        reached: What each attempt so far came to.
        options: Say what is allowed.
        account: Told how many ops stay in float.

    Yields:
        What to take from ``able``, and the method. The caller appends what came of it to ``reached`` before it goes on.
    """
    yield frozenset(), method
    with account.part("sparing"):
        int8 = reached[-1].int8
        sets = list(chooser.spared(found, int8, method))
    limit = math.inf
    for spared, error in sets:
        if error > limit:
            continue
        if spared:
            with account.part("sparing"):
                errors = chooser.errors(make_plan(found, int8 - spared))
            account.decline(
                f"{len(spared)} ops", f"in int8 they would take an output below {floor(options):g} dB of SQNR"
            )
            yield able - (int8 - spared), min(errors, key=errors.__getitem__, default=method)
        share = _MARGIN * allowed(options) / max(reached[-1].error, 1e-30)
        limit = error * float(np.clip(share, _FASTEST, _SLOWEST))


def allowed(options: QuantizeOptions) -> float:
    """The relative squared error that an output may have."""
    return float(10 ** (-floor(options) / 10))


def floor(options: QuantizeOptions) -> float:
    """Decibels of SQNR that every output is to keep."""
    return MIN_SQNR if options.min_sqnr is None else options.min_sqnr


def refusal(lost: Mapping[str, float], options: QuantizeOptions) -> GateError:
    """What to raise when no attempt was good enough.

    Args:
        lost: By output its relative squared error in the last attempt.
        options: Say what was asked for.
    """
    worst = max(lost, key=lost.__getitem__)
    reached = -10 * math.log10(max(lost[worst], 1e-30))
    return GateError(
        f"int8 leaves output {worst} at {reached:.1f} dB of SQNR on calibration samples, whichever layers that gain by it "
        f"stay float; {floor(options):g} are asked for",
        hint="--min-sqnr accepts less; --eval-data with --max-drop judges by your own metric; more calibration samples help",
    )
