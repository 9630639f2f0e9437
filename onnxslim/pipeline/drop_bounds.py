"""What a drop on the *tune* data counts as: the one seen, what its uncertainty adds, and who has to prove it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.validation import statistics
from onnxslim.validation.metrics.accumulator import MetricResult

#: Which share of the drop that is allowed may be held against a result for the uncertainty of its own.
MAX_UNCERTAINTY_SHARE = 0.5


def bound_drop(metrics: Sequence[MetricResult], limit: float, *, many: bool = False) -> float:
    """What a choice counts as the drop, by the unit of ``limit``: the one seen, and its standard error on top.

    Few samples cannot tell a drop of nothing from one of a point, so that at most half of what is allowed is held against a
    result for that: what loses less than the other half is never kept out. Of a guard nothing is.

    Args:
        metrics: What gates, on the *tune* data; the one that is worst counts.
        limit: The drop that is allowed.
        many: The choice is among very many, as shares to prune are, of which the luckiest is lucky indeed: all of the
            standard error counts.

    Returns:
        At least 0; infinite where no drop was measured.
    """

    def bound(metric: MetricResult, drop: float) -> float:
        at_most = 0.0 if metric.guards else math.inf if many else MAX_UNCERTAINTY_SHARE * limit
        return statistics.add_standard_error(drop, metric.get_interval_by(limit), at_most)

    return _find_worst(metrics, limit, bound)


def find_least_drop(metrics: Sequence[MetricResult], limit: float) -> float:
    """The least drop that the *tune* data leave possible, by the unit of ``limit``: what is above it they refuse.

    Returns:
        At least 0; infinite where no drop was measured.
    """
    return _find_worst(
        metrics, limit, lambda metric, drop: statistics.least_proven_drop(drop, metric.get_interval_by(limit))
    )


def is_left_to_confirm(metrics: Sequence[MetricResult], limit: float, splits: DataSplits) -> bool:
    """Whether what was pruned is to be proven on the confirm data, all of its standard error counted, instead of on tune.

    Thirteen samples of which no answer changed leave three points possible: every share would fail by its uncertainty alone,
    the smallest too. More samples that nothing was chosen by can tell what those cannot, if there are enough of them. Where
    tune could clear a pruning that changes little, it has to.

    Args:
        metrics: What gates, on the tune data, the one that lost most first.
        limit: The drop that is allowed.
        splits: How many samples are in each use.
    """
    tune, confirm = splits.tune, splits.confirm
    if tune is None or confirm is None or not metrics:
        return False
    seen = max(0.0, metrics[0].get_drop_by(limit) or 0.0)
    doubt = bound_drop(metrics, limit, many=True) - seen
    share = len(tune) / len(confirm)
    # what was never seen among n is as rare as 1 / n; an error that was seen shrinks with the root
    expected = seen + doubt * (math.sqrt(share) if seen else share)
    return doubt > limit >= expected


def _find_worst(metrics: Sequence[MetricResult], limit: float, bound: Callable[[MetricResult, float], float]) -> float:
    """The largest that ``bound`` makes of a metric and the drop that was seen of it; infinite where none was measured."""
    drops = [(metric, metric.get_drop_by(limit)) for metric in metrics]
    return max(math.inf if drop is None or math.isnan(drop) else bound(metric, max(0.0, drop)) for metric, drop in drops)
