"""What stays in float because an output would lose too much: as few ops as it takes, the costliest first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.activations.output_error import to_decibels
from onnxslim.core.errors import GateError
from onnxslim.core.step_report import StepReport
from onnxslim.quantization.calibration.range_selection import RangeSelector
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, make_plan

#: Decibels that every output keeps when nobody says: what is left is a tenth of the signal's amplitude.
DEFAULT_MIN_SQNR_DB = 20.0
#: What the next set may lose, as a share of what would just do; and of the last set's loss, the most and the least that one
#: step may leave: mending varies from set to set, so neither a crawl nor a leap is wanted.
_TARGET_MARGIN, _MAX_LOSS_LEFT, _MIN_LOSS_LEFT = 0.9, 0.75, 0.25


@dataclass(frozen=True)
class AttemptResult:
    """One placement that was tried.

    Attributes:
        int8: The units that ran in int8.
        error: The worst output's relative squared error.
    """

    int8: frozenset[str]
    error: float


def search_float_fallback(
    chooser: RangeSelector,
    all_units: Sequence[FusionGroup],
    int8_capable: frozenset[str],
    method: str,
    results: Sequence[AttemptResult],
    options: QuantizeOptions,
    report: StepReport,
) -> Iterator[tuple[frozenset[str], str]]:
    """Units to keep in float, and the range method: none at first; when that costs an output too much, what costs most.

    Mending takes away a good part of what outputs lose by rounding alone. How much, each attempt shows: the next set has to
    lose as much less than the last as that was too much.

    Args:
        chooser: Knows what rounding alone costs.
        all_units: All units.
        int8_capable: Those that can be int8.
        method: The best range method when all of them are.
        results: What each attempt so far came to.
        options: Say what is allowed.
        report: Told how many ops stay in float.

    Yields:
        What to take from ``int8_capable``, and the method. The caller appends what came of it to ``results`` before it
        goes on.
    """
    yield frozenset(), method
    with report.part("sparing"):
        int8 = results[-1].int8
        fallback_sets = list(chooser.propose_fallback_sets(all_units, int8, method))
    limit = math.inf
    for float_fallback, error in fallback_sets:
        if error > limit:
            continue
        if float_fallback:
            with report.part("sparing"):
                errors = chooser.measure_errors(make_plan(all_units, int8 - float_fallback))
            report.skip(
                f"{len(float_fallback)} ops",
                f"in int8 they would take an output below {get_min_sqnr_db(options):g} dB of SQNR",
            )
            yield int8_capable - (int8 - float_fallback), min(errors, key=errors.__getitem__, default=method)
        share = _TARGET_MARGIN * get_max_error(options) / max(results[-1].error, 1e-30)
        limit = error * float(np.clip(share, _MIN_LOSS_LEFT, _MAX_LOSS_LEFT))


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
