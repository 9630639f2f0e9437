"""What stays in float because an output would lose too much: as few ops as it takes, the costliest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.activations.output_error import to_decibels
from onnxslim.core.errors import GateError
from onnxslim.quantization.options import QuantizeOptions

#: Decibels that every output keeps when nobody says: what is left is a tenth of the signal's amplitude.
DEFAULT_MIN_SQNR_DB = 20.0
#: What the next set may lose, as a share of what would just do; and of the last set's loss, the most and the least that one
#: step may leave: mending varies from set to set, so neither a crawl nor a leap is wanted.
_TARGET_MARGIN, _MAX_LOSS_LEFT, _MIN_LOSS_LEFT = 0.9, 0.75, 0.25


@dataclass(frozen=True)
class AttemptResult:
    """One placement that was tried.

    Attributes:
        position: Which of the proposed sets stayed in float.
        error: The worst output's relative squared error, layers mended.
    """

    position: int
    error: float


def next_attempt(history: Sequence[AttemptResult], rounding_errors: Sequence[float], max_error: float) -> int | None:
    """Which set to keep in float after ``history``, or None when none of them is expected to be enough less.

    Mending takes away a good part of what outputs lose by rounding alone. How much, each attempt shows: the next set has to
    lose as much less than the last as that was too much.

    Args:
        history: What was tried, at least one.
        rounding_errors: For each set, the fewest ops first, what the worst output loses by rounding alone.
        max_error: What it may lose.
    """
    last = history[-1]
    share = _TARGET_MARGIN * max_error / max(last.error, 1e-30)
    limit = rounding_errors[last.position] * float(np.clip(share, _MIN_LOSS_LEFT, _MAX_LOSS_LEFT))
    return next((i for i in range(last.position + 1, len(rounding_errors)) if rounding_errors[i] <= limit), None)


def get_max_error(options: QuantizeOptions) -> float:
    """The relative squared error that an output may have."""
    return float(10 ** (-get_min_sqnr_db(options) / 10))


def get_min_sqnr_db(options: QuantizeOptions) -> float:
    """Decibels of SQNR that every output is to keep."""
    return DEFAULT_MIN_SQNR_DB if options.min_sqnr is None else options.min_sqnr


def build_sqnr_error(output_errors: Mapping[str, float], options: QuantizeOptions) -> GateError:
    """What to raise when no attempt was good enough.

    Args:
        output_errors: By output its relative squared error in the last attempt.
        options: Say what was asked for.
    """
    worst = max(output_errors, key=output_errors.__getitem__)
    sqnr_db = -to_decibels(output_errors[worst])
    return GateError(
        f"int8 leaves output {worst} at {sqnr_db:.1f} dB of SQNR on calibration samples, whichever layers that gain by it "
        f"stay float; {get_min_sqnr_db(options):g} are asked for",
        hint="--min-sqnr accepts less; --eval-data with --max-drop judges by your own metric; more calibration samples help",
    )
