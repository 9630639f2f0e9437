"""What a metric lost, in words: a score loses points, an error rises."""

from __future__ import annotations

import math

from onnxslim.core.quantities import is_in_units
from onnxslim.reporting import text
from onnxslim.reporting.figures import metric_name
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.metrics.table import METRICS
from onnxslim.validation.statistics import samples_to_choose


def describe_drop(metric: MetricResult) -> str:
    """``loses 2.1 points of Top-1``; of an error ``would show a rise of 3 % in RMSE``; ``loses nothing of F1``."""
    name, amount = metric_name(metric.name), _format_amount(metric, metric.drop)
    if metric.drop is None:
        return f"was not held against the original by {name}"
    if metric.drop <= 0:
        return f"loses nothing of {name}" if metric.higher_is_better else f"would show no rise in {name}"
    if metric.higher_is_better:
        return f"loses {amount} of {name}"
    note = f" ({text.clean(metric.note)})" if metric.note else ""
    return f"would show a rise of {amount} in {name}{note}"


def describe_limit(metric: MetricResult, limit: float) -> str:
    """``at most 1 point allowed``, in the unit that :func:`describe_drop` tells the drop in."""
    return f"at most {_format_amount(metric, metric.get_own_limit(limit))} allowed"


def describe_doubt(metric: MetricResult, limit: float, judged_on: str = "tune") -> str:
    """The same of a drop that is within the limit, and too near to it for what the samples of one use can tell; about how
    many could, where that is known.
    """
    drop = max(0.0, metric.get_drop_by(limit) or 0.0)
    needed = samples_to_choose(drop, metric.get_interval_by(limit), metric.n, limit)
    near = f"too near the {_format_amount(metric, metric.get_own_limit(limit))} allowed"
    if needed is None or needed <= metric.n:
        return f"{near} for so few samples"
    return f"{near} for {metric.n} {judged_on} samples, about {float(f'{needed:.2g}'):.0f} would decide"


def can_be_asked_for(limit: float) -> bool:
    """Whether a limit of this kind is written as a share: ``--max-drop 2.3%``."""
    return not is_in_units(limit)


def _format_amount(metric: MetricResult, drop: float | None) -> str:
    if drop is None or not math.isfinite(drop):
        return "any amount"
    row = METRICS.get(metric.name)
    if row is not None and row.is_relative and metric.original:  # its unit is that of the data, which nobody knows
        return f"{text.format_digits(100 * drop / abs(metric.original), 2)} %"
    if not metric.share:
        return text.format_digits(drop, 2)
    amount = text.format_digits(100 * drop, 2)
    return f"{amount} %" if not metric.higher_is_better else f"{amount} point{'' if float(amount) == 1 else 's'}"
